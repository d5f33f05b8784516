// The decoder's blocks as one call: on the way from Python to C and back nobody reads memory, and a step of a small
// model consists of little else.
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

void mentor_step(const mentor_block *blocks, long count, const void *x, const float *rotation, const void *bias, void *y,
                 void *scratch, long rows, long heads, long head_width, long hidden, long capacity, long start,
                 float epsilon, int bf16, int threads) {
    long width = heads * head_width, size = bf16 ? 2 : 4;
    char *normed = scratch, *mixed = normed + size * rows * width, *qkv = mixed + size * rows * width;
    char *gate = qkv + size * rows * 3 * width, *up = gate + size * rows * hidden;

    memcpy(y, x, (size_t)(size * rows * width));
    for (const mentor_block *block = blocks; block < blocks + count; block++) {
        mentor_rms_norm(y, block->attention_norm, normed, rows, width, epsilon, bf16);
        mentor_linear(normed, block->wqkv, qkv, rows, width, 3 * width, bf16, threads);
        mentor_attend(qkv, rotation, block->keys, block->values, bias, mixed, rows, heads, head_width, capacity, start,
                      bf16, threads);
        mentor_linear(mixed, block->wo, normed, rows, width, width, bf16, threads);
        add_numbers(y, normed, y, rows * width, bf16);

        mentor_rms_norm(y, block->ffn_norm, normed, rows, width, epsilon, bf16);
        mentor_linear(normed, block->w1, gate, rows, width, hidden, bf16, threads);
        mentor_linear(normed, block->w3, up, rows, width, hidden, bf16, threads);
        open_gates(gate, up, rows * hidden, bf16);
        mentor_linear(gate, block->w2, mixed, rows, hidden, width, bf16, threads);
        add_numbers(y, mixed, y, rows * width, bf16);
    }
}
