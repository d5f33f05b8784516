// One decoder block as one call: what a step of a small model costs is the way from Python to C and back.
#include "kernels.h"
#include "numbers.h"

INLINE void add(const void *a, const void *b, void *y, long count, int bf16) {
    for (long i = 0; i < count; i++) put(y, i, get(a, i, bf16) + get(b, i, bf16), bf16);
}

// gate = silu(gate) * up for `count` numbers, at most LANES. The exponent is taken of -|gate|, which cannot overflow.
INLINE void open_lanes(void *gate, const void *up, long i, long count, int bf16) {
    float opening[LANES] = {0}, through[LANES] = {0};
    for (long lane = 0; lane < count; lane++) {
        opening[lane] = get(gate, i + lane, bf16);
        through[lane] = get(up, i + lane, bf16);
    }
    floats g = *(floats *)opening, e = exponential(choose(g < 0.0f, g, -g));
    *(floats *)opening = g * choose(g < 0.0f, e, splat(1)) / (1.0f + e) * *(floats *)through;
    for (long lane = 0; lane < count; lane++) put(gate, i + lane, opening[lane], bf16);
}

INLINE void open_gate(void *gate, const void *up, long count, int bf16) {
    long i = 0;
    for (; i + LANES <= count; i += LANES) open_lanes(gate, up, i, LANES, bf16);
    if (i < count) open_lanes(gate, up, i, count - i, bf16);
}

static void add_numbers(const void *a, const void *b, void *y, long count, int bf16) {
    if (bf16)
        add(a, b, y, count, 1);
    else
        add(a, b, y, count, 0);
}

static void open_gates(void *gate, const void *up, long count, int bf16) {
    if (bf16)
        open_gate(gate, up, count, 1);
    else
        open_gate(gate, up, count, 0);
}

void mentor_block(const void *x, const void *attention_norm, const void *wqkv, const void *wo, const void *ffn_norm,
                  const void *w1, const void *w3, const void *w2, const float *rotation, void *keys, void *values,
                  const void *bias, void *y, void *scratch, long rows, long heads, long head_width, long hidden,
                  long capacity, long start, float epsilon, int bf16, int threads) {
    long width = heads * head_width;
    char *normed = scratch, *mixed = (char *)at(normed, rows * width, bf16), *qkv = (char *)at(mixed, rows * width, bf16);
    char *gate = (char *)at(qkv, rows * 3 * width, bf16), *up = (char *)at(gate, rows * hidden, bf16);

    mentor_rms_norm(x, attention_norm, normed, rows, width, epsilon, bf16);
    mentor_linear(normed, wqkv, qkv, rows, width, 3 * width, bf16, threads);
    mentor_attend(qkv, rotation, keys, values, bias, mixed, rows, heads, head_width, capacity, start, bf16, threads);
    mentor_linear(mixed, wo, normed, rows, width, width, bf16, threads);
    add_numbers(x, normed, y, rows * width, bf16);

    mentor_rms_norm(y, ffn_norm, normed, rows, width, epsilon, bf16);
    mentor_linear(normed, w1, gate, rows, width, hidden, bf16, threads);
    mentor_linear(normed, w3, up, rows, width, hidden, bf16, threads);
    open_gates(gate, up, rows * hidden, bf16);
    mentor_linear(gate, w2, mixed, rows, hidden, width, bf16, threads);
    add_numbers(y, mixed, y, rows * width, bf16);
}
