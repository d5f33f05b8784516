// Reads memory and does nothing else, for the measurement of what the products could reach at best.
#include "kernels.h"
#include "numbers.h"
#include "threads.h"

enum { AHEAD = 4096, VECTORS = 8, STRIDE = VECTORS * sizeof(ints) };

typedef struct {
    const void *const *pieces;
    const long *bytes;
    long long *sums; // so that no read can be left out
} reading;

static void read_piece(const void *of, long piece) {
    const reading *job = of;
    const char *memory = job->pieces[piece];
    ints sums[VECTORS] = {{0}};
    for (long i = 0; i + STRIDE <= job->bytes[piece]; i += STRIDE)
        UNROLL for (int v = 0; v < VECTORS; v++) {
            const char *from = memory + i + v * (long)sizeof(ints);
            __builtin_prefetch(from + AHEAD);
            sums[v] += *(const ints *)from;
        }
    job->sums[piece] = 0;
    for (int v = 0; v < VECTORS; v++)
        for (int i = 0; i < LANES; i++) job->sums[piece] += sums[v][i];
}

void mentor_read(const void *const *pieces, const long *bytes, long count, long long *sums, int threads) {
    reading job = {pieces, bytes, sums};
    share(read_piece, &job, count, threads);
}
