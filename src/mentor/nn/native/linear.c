// What a decode step does to its few rows besides attention: products with large weights, and norms.
#include "kernels.h"
#include "numbers.h"
#include "threads.h"

#include <stdlib.h>

// Whether the processor multiplies bfloat16 itself. If not, x is widened once and each weight as it comes.
#if defined(__AVX512BF16__) && !defined(MENTOR_WIDEN)
#include <immintrin.h>
#define BF16_DOT 1
#else
#define BF16_DOT 0
#endif

enum {
    MAX_ROWS = 32,
    AHEAD = 8192,  // bytes: asking for memory so early gives 70 GB/s where the processor's own guesses give 55
    CHUNK = 65536, // bytes
    // CHAINS * TILE sums are under way at once: enough for none to wait for the one before, and all in registers.
    CHAINS = 4,
#if defined(__AVX__) && !defined(__AVX512F__)
    TILE = 2,
#else
    TILE = 4,
#endif
};

// sums[m] = sum_i w[i] * x[m, i] for `rows` rows, at most TILE; x float32, in the order of `place`.
INLINE void dot_wide(const void *w, const float *x, long width, int rows, int bf16, float *sums) {
    floats lanes[CHAINS][TILE];
    UNROLL for (int chain = 0; chain < CHAINS; chain++)
        UNROLL for (int m = 0; m < rows; m++) lanes[chain][m] = splat(0);
    long i = 0;
    for (; i + LANES * CHAINS <= width; i += LANES * CHAINS)
        UNROLL for (int chain = 0; chain < CHAINS; chain += 2) {
            long k = i + LANES * chain;
            floats a, b;
            for (int line = 0; line < PAIR * (bf16 ? 2 : 4); line += 64) __builtin_prefetch(at(w, k, bf16) + AHEAD + line);
            get_pair(w, k, bf16, &a, &b);
            UNROLL for (int m = 0; m < rows; m++) {
                lanes[chain][m] += a * *(const floats *)(x + m * width + k);
                lanes[chain + 1][m] += b * *(const floats *)(x + m * width + k + LANES);
            }
        }
    UNROLL for (int m = 0; m < rows; m++)
        sums[m] = sum_lanes((lanes[0][m] + lanes[1][m]) + (lanes[2][m] + lanes[3][m]));
    for (; i < width; i++)
        for (int m = 0; m < rows; m++) sums[m] += get(w, i, bf16) * x[m * width + place(i, width, bf16)];
}

#if BF16_DOT
// The same for bfloat16 x, in its own order.
INLINE void dot_bf16(const uint16_t *w, const uint16_t *x, long width, int rows, float *sums) {
    __m512 lanes[CHAINS][TILE];
    UNROLL for (int chain = 0; chain < CHAINS; chain++)
        UNROLL for (int m = 0; m < rows; m++) lanes[chain][m] = _mm512_setzero_ps();
    long i = 0;
    for (; i + PAIR * CHAINS <= width; i += PAIR * CHAINS)
        UNROLL for (int chain = 0; chain < CHAINS; chain++) {
            long k = i + PAIR * chain;
            __builtin_prefetch((const char *)(w + k) + AHEAD);
            __m512bh weights = (__m512bh)_mm512_loadu_si512(w + k);
            UNROLL for (int m = 0; m < rows; m++)
                lanes[chain][m] = _mm512_dpbf16_ps(lanes[chain][m], weights, (__m512bh)_mm512_loadu_si512(x + m * width + k));
        }
    for (; i + PAIR <= width; i += PAIR) {
        __m512bh weights = (__m512bh)_mm512_loadu_si512(w + i);
        UNROLL for (int m = 0; m < rows; m++)
            lanes[0][m] = _mm512_dpbf16_ps(lanes[0][m], weights, (__m512bh)_mm512_loadu_si512(x + m * width + i));
    }
    UNROLL for (int m = 0; m < rows; m++)
        sums[m] = sum_lanes((floats)((lanes[0][m] + lanes[1][m]) + (lanes[2][m] + lanes[3][m])));
    for (; i < width; i++)
        for (int m = 0; m < rows; m++) sums[m] += widen(w[i]) * widen(x[m * width + i]);
}
#endif

INLINE void dot(const void *w, const void *x, long width, int from, int rows, int bf16, float *sums) {
#if BF16_DOT
    if (bf16) {
        dot_bf16(w, (const uint16_t *)x + from * width, width, rows, sums + from);
        return;
    }
#endif
    dot_wide(w, (const float *)x + from * width, width, rows, bf16, sums + from);
}

// The same for any number of rows up to MAX_ROWS: after the first TILE of them the weights come from the cache.
INLINE void dots(const void *w, const void *x, long width, int rows, int bf16, float *sums) {
    int m = 0;
    for (; m + TILE <= rows; m += TILE) dot(w, x, width, m, TILE, bf16, sums);
    if (TILE > 2 && m + 2 <= rows) {
        dot(w, x, width, m, 2, bf16, sums);
        m += 2;
    }
    if (m < rows) dot(w, x, width, m, 1, bf16, sums);
}

typedef struct {
    const void *x, *w; // [rows, width], [outputs, width]
    void *y;           // [rows, outputs]
    long width, outputs, step; // outputs of one chunk
    int rows;
} product;

INLINE void multiply(const product *job, long chunk, int bf16) {
    long end = (chunk + 1) * job->step < job->outputs ? (chunk + 1) * job->step : job->outputs;
    for (long n = chunk * job->step; n < end; n++) {
        float sums[MAX_ROWS];
        dots(at(job->w, n * job->width, bf16), job->x, job->width, job->rows, bf16, sums);
        for (int m = 0; m < job->rows; m++) put(job->y, m * job->outputs + n, sums[m], bf16);
    }
}

static void multiply_float32(const void *job, long chunk) { multiply(job, chunk, 0); }
static void multiply_bfloat16(const void *job, long chunk) { multiply(job, chunk, 1); }

void mentor_linear(const void *x, const void *w, void *y, long rows, long width, long outputs, int bf16, int threads) {
    float *wide = 0;
    if (bf16 && !BF16_DOT) {
        wide = malloc((size_t)(rows * width) * sizeof *wide);
        if (!wide) abort();
        for (long m = 0; m < rows; m++)
            for (long i = 0; i < width; i++) wide[m * width + place(i, width, 1)] = get(x, m * width + i, 1);
    }
    long step = CHUNK / (width * (bf16 ? 2 : 4)) + 1;
    product job = {wide ? wide : x, w, y, width, outputs, step, (int)rows};
    share(bf16 ? multiply_bfloat16 : multiply_float32, &job, (outputs + step - 1) / step, threads);
    free(wide);
}

INLINE void normalise(const void *x, const void *weight, void *y, long width, float epsilon, int bf16) {
    floats squares = splat(0);
    long i = 0;
    for (; i + PAIR <= width; i += PAIR) {
        floats a, b;
        get_pair(x, i, bf16, &a, &b);
        squares += a * a + b * b;
    }
    float sum = sum_lanes(squares);
    for (; i < width; i++) sum += get(x, i, bf16) * get(x, i, bf16);
    float scale = 1.0f / __builtin_sqrtf(sum / (float)width + epsilon);
    for (i = 0; i < width; i++) put(y, i, get(x, i, bf16) * scale * get(weight, i, bf16), bf16);
}

void mentor_rms_norm(const void *x, const void *weight, void *y, long rows, long width, float epsilon, int bf16) {
    for (long m = 0; m < rows; m++) {
        void *to = (void *)at(y, m * width, bf16);
        if (bf16)
            normalise(at(x, m * width, 1), weight, to, width, epsilon, 1);
        else
            normalise(at(x, m * width, 0), weight, to, width, epsilon, 0);
    }
}
