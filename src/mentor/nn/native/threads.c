// Why not OpenMP: its regions wait for every thread to show up. Where other programs want the processor too, a helper
// that lost its turn then costs a scheduler slice (8 ms against 0.1 ms of work). Here chunks are claimed one by one,
// and the caller does alone whatever nobody came for.
//
// Thread p starts in part p of the chunks, so that each reads one long run of memory, and then helps with the others.
// A claim is one compare-and-swap on the part's ticket, (job number << 32 | next chunk): a helper that comes late finds
// another job number and leaves. The tickets are closed before a job is replaced, and a helper reads the job before the
// ticket: what it read of a newer job it can claim nothing with.
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

enum { MAX_THREADS = 64, SPINS = 50000 }; // about 1 ms: longer than Python and PyTorch take from one job to the next

typedef struct {
    _Alignas(64) _Atomic uint64_t value;
} ticket;

static ticket tickets[MAX_THREADS];
static _Alignas(64) _Atomic uint32_t number; // of the current job
static _Alignas(64) _Atomic long finished;   // its chunks
static _Atomic(chunk_function) current;
static _Atomic(const void *) argument;
static _Atomic long total;
static _Atomic int parts, sleepers, busy;
static int helpers; // started; changed by the caller that holds `busy`
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work(uint32_t job, int own) {
    chunk_function function = atomic_load(&current);
    const void *data = atomic_load(&argument);
    long chunks = atomic_load(&total);
    int count = atomic_load(&parts);
    for (int i = 0; i < count; i++) {
        int part = (own + i) % count;
        uint32_t end = (uint32_t)(chunks * (part + 1) / count);
        uint64_t seen = atomic_load(&tickets[part].value);
        while ((uint32_t)seen < end) {
            if (seen >> 32 != job) return;
            if (!atomic_compare_exchange_weak(&tickets[part].value, &seen, seen + 1)) continue;
            function(data, (long)(uint32_t)seen);
            atomic_fetch_add(&finished, 1);
            seen = atomic_load(&tickets[part].value);
        }
    }
}

static void *help(void *own) {
    uint32_t done = 0, job;
    for (;;) {
        job = atomic_load(&number);
        for (int spin = 0; job == done && spin < SPINS; spin++) {
            relax();
            job = atomic_load(&number);
        }
        if (job == done) {
            pthread_mutex_lock(&mutex);
            atomic_fetch_add(&sleepers, 1);
            while ((job = atomic_load(&number)) == done) pthread_cond_wait(&wake, &mutex);
            atomic_fetch_sub(&sleepers, 1);
            pthread_mutex_unlock(&mutex);
        }
        done = job;
        if ((int)(intptr_t)own < atomic_load(&parts)) work(job, (int)(intptr_t)own);
    }
    return 0;
}

static void start_helpers(int wanted) {
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    while (helpers < wanted && !pthread_create(&thread, &detached, help, (void *)(intptr_t)(helpers + 1))) helpers++;
    pthread_attr_destroy(&detached);
}

static void close_tickets(void) {
    for (int part = 0; part < MAX_THREADS; part++) atomic_store(&tickets[part].value, UINT32_MAX);
}

// A forked process has no helpers, and perhaps a copy of a lock that one of them held.
static void after_fork(void) {
    helpers = 0;
    atomic_store(&sleepers, 0);
    atomic_store(&busy, 0);
    close_tickets(); // of a job that another thread was at: new helpers must not go on with it
    atomic_store(&finished, 0);
    pthread_mutex_init(&mutex, 0);
    pthread_cond_init(&wake, 0);
}

__attribute__((constructor)) static void prepare(void) { pthread_atfork(0, 0, after_fork); }

void share(chunk_function function, const void *job, long chunks, int threads) {
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads > chunks) threads = (int)chunks;
    if (threads <= 1 || atomic_exchange(&busy, 1)) { // busy: another thread of the program is at it
        for (long chunk = 0; chunk < chunks; chunk++) function(job, chunk);
        return;
    }
    uint32_t next = atomic_load(&number) + 1;
    close_tickets();
    start_helpers(threads - 1);
    atomic_store(&finished, 0);
    atomic_store(&current, function);
    atomic_store(&argument, job);
    atomic_store(&total, chunks);
    atomic_store(&parts, threads);
    for (int part = 0; part < threads; part++)
        atomic_store(&tickets[part].value, (uint64_t)next << 32 | (uint32_t)(chunks * part / threads));
    atomic_store(&number, next);
    if (atomic_load(&sleepers)) {
        pthread_mutex_lock(&mutex);
        pthread_cond_broadcast(&wake);
        pthread_mutex_unlock(&mutex);
    }
    work(next, 0);
    for (int spin = 0; atomic_load(&finished) < chunks;) {
        if (spin == SPINS) sched_yield(); // a helper lost its turn in the middle of a chunk
        else relax(), spin++;
    }
    atomic_store(&busy, 0);
}
