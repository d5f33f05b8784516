// Attention of one new position over the cache: every key and value is read once.
#include "kernels.h"
#include "numbers.h"
#include "threads.h"

enum {
    MAX_WIDTH = 256, // of a head
    BLOCK = 128,     // positions between two looks at the largest logit
    AHEAD = 32,      // positions to ask for before they are needed
    COLUMNS = 4,     // vectors of a value row that are summed in registers
};

typedef struct {
    const void *qkv;
    const float *rotation;
    void *keys, *values;
    const void *bias;
    void *y;
    long heads, width, capacity, start;
} step;

// The sum of each of LANES vectors, by adding neighbours again and again.
INLINE floats sum_each(floats *vectors) {
    UNROLL for (int count = LANES / 2; count; count /= 2)
        UNROLL for (int i = 0; i < count; i++) vectors[i] = add_neighbours(vectors[2 * i], vectors[2 * i + 1]);
    return vectors[0];
}

INLINE void rotate(const void *from, const float *rotation, float *to, long width, int bf16) {
    for (long i = 0; i < width; i += 2) {
        float a = get(from, i, bf16), b = get(from, i + 1, bf16), cosine = rotation[i], sine = rotation[i + 1];
        to[i] = a * cosine - b * sine;
        to[i + 1] = a * sine + b * cosine;
    }
}

// Asks for LANES rows of keys or values, AHEAD positions after `position`; after the last one comes the next head's first.
INLINE void fetch(const char *rows, long position, long length, long capacity, long width, int bf16) {
    long from = position + AHEAD < length ? position + AHEAD : position + AHEAD - length + capacity;
    for (long i = 0; i < LANES * width; i += 64 / (bf16 ? 2 : 4)) __builtin_prefetch(at(rows, from * width + i, bf16));
}

// logits[t] = query . keys[t] + bias[t] for `count` positions, up to LANES of them.
INLINE floats compare(const char *keys, const float *query, const char *bias, long count, long width, int bf16) {
    floats products[LANES];
    for (long t = 0; t < LANES; t++) {
        const char *row = at(keys, (t < count ? t : count - 1) * width, bf16);
        products[t] = splat(0);
        for (long i = 0; i < width; i += PAIR) {
            floats a, b;
            get_pair(row, i, bf16, &a, &b);
            products[t] += a * *(const floats *)(query + i) + b * *(const floats *)(query + i + LANES);
        }
    }
    floats logits = sum_each(products);
    if (bias || count < LANES)
        for (long t = 0; t < LANES; t++)
            logits[t] = t < count ? logits[t] + (bias ? get(bias, t, bf16) : 0) : -__builtin_inff();
    return logits;
}

// sums += weights[t] * values[t], for `vectors` vectors of each row.
INLINE void gather(const char *values, long width, const float *weights, long count, int vectors, int bf16, floats *sums) {
    floats held[COLUMNS];
    for (int i = 0; i < vectors; i++) held[i] = sums[i];
    for (long t = 0; t < count; t++)
        UNROLL for (int i = 0; i < vectors; i += 2) {
            floats a, b;
            get_pair(values, t * width + LANES * i, bf16, &a, &b);
            held[i] += a * weights[t];
            held[i + 1] += b * weights[t];
        }
    for (int i = 0; i < vectors; i++) sums[i] = held[i];
}

INLINE void attend(const step *job, long task, const long width, int bf16) {
    long batch = task / job->heads, head = task % job->heads, length = job->start + 1;
    const char *q = at(job->qkv, (batch * 3 * job->heads + head) * width, bf16);
    const char *k = at(q, job->heads * width, bf16), *v = at(k, job->heads * width, bf16);
    const char *keys = at(job->keys, task * job->capacity * width, bf16);
    const char *values = at(job->values, task * job->capacity * width, bf16);
    char *new_key = (char *)at(keys, job->start * width, bf16), *new_value = (char *)at(values, job->start * width, bf16);

    float turned[MAX_WIDTH], query[MAX_WIDTH], scale = 1.0f / __builtin_sqrtf((float)width);
    rotate(k, job->rotation, turned, width, bf16);
    for (long i = 0; i < width; i++) put(new_key, i, turned[i], bf16);
    memcpy(new_value, v, (size_t)(width * (bf16 ? 2 : 4)));
    rotate(q, job->rotation, turned, width, bf16);
    for (long i = 0; i < width; i++) // rounded like the keys
        query[place(i, width, bf16)] = (bf16 ? widen(narrow(turned[i])) : turned[i]) * scale;

    floats sums[MAX_WIDTH / LANES];
    for (long i = 0; i < width / LANES; i++) sums[i] = splat(0);
    float largest = -__builtin_inff(), total = 0;
    for (long first = 0; first < length; first += BLOCK) {
        long count = length - first < BLOCK ? length - first : BLOCK;
        float weights[BLOCK];
        floats tops = splat(largest);
        for (long t = 0; t < count; t += LANES) {
            fetch(keys, first + t, length, job->capacity, width, bf16);
            const char *bias = job->bias ? at(job->bias, batch * length + first + t, bf16) : 0;
            floats logits = compare(at(keys, (first + t) * width, bf16), query, bias, count - t, width, bf16);
            tops = choose(logits > tops, logits, tops);
            *(floats *)(weights + t) = logits;
        }
        float top = largest;
        for (int i = 0; i < LANES; i++) top = tops[i] > top ? tops[i] : top;
        if (top == -__builtin_inff()) continue; // all masked so far

        float shrink = exponential(splat(largest - top))[0]; // the sums so far are relative to the old maximum
        largest = top;
        floats added = splat(0);
        for (long t = 0; t < count; t += LANES) {
            floats e = exponential(*(floats *)(weights + t) - top);
            *(floats *)(weights + t) = e;
            added += e;
        }
        total = total * shrink + sum_lanes(added);
        for (long i = 0; i < width / LANES; i++) sums[i] *= shrink;
        for (long t = 0; t < count; t += LANES) {
            fetch(values, first + t, length, job->capacity, width, bf16);
            long rows = count - t < LANES ? count - t : LANES, i = 0;
            const char *block = at(values, (first + t) * width, bf16);
            for (; i + COLUMNS <= width / LANES; i += COLUMNS)
                gather(at(block, i * LANES, bf16), width, weights + t, rows, COLUMNS, bf16, sums + i);
            for (; i < width / LANES; i += 2)
                gather(at(block, i * LANES, bf16), width, weights + t, rows, 2, bf16, sums + i);
        }
    }
    for (long i = 0; i < width / LANES; i++) sums[i] /= total;
    for (long i = 0; i < width; i++) put(job->y, task * width + i, ((float *)sums)[place(i, width, bf16)], bf16);
}

// The usual width as a constant, so that its loops are unrolled.
static void attend_64_float32(const void *job, long task) { attend(job, task, 64, 0); }
static void attend_64_bfloat16(const void *job, long task) { attend(job, task, 64, 1); }
static void attend_float32(const void *job, long task) { attend(job, task, ((const step *)job)->width, 0); }
static void attend_bfloat16(const void *job, long task) { attend(job, task, ((const step *)job)->width, 1); }

void mentor_attend(const void *qkv, const float *rotation, void *keys, void *values, const void *bias, void *y, long batch,
                   long heads, long width, long capacity, long start, int bf16, int threads) {
    step job = {qkv, rotation, keys, values, bias, y, heads, width, capacity, start};
    chunk_function general = bf16 ? attend_bfloat16 : attend_float32;
    chunk_function usual = bf16 ? attend_64_bfloat16 : attend_64_float32;
    share(width == 64 ? usual : general, &job, batch * heads, threads);
}
