// What Python calls. Arrays are dense; `bf16` says whether their numbers are bfloat16 or float32.
#pragma once

// y = x w^T: [rows, width] and [outputs, width] -> [rows, outputs], for at most 32 rows.
void mentor_linear(const void *x, const void *w, void *y, long rows, long width, long outputs, int bf16, int threads);

// y = x / sqrt(mean(x^2) + epsilon) * weight, over each row of [rows, width].
void mentor_rms_norm(const void *x, const void *weight, void *y, long rows, long width, float epsilon, int bf16);

// Rotates the query and the key of position `start`, writes key and value into the cache and attends to positions
// 0..start. qkv: [batch, 3 * heads, width]; rotation: [width / 2] pairs of cosine and sine; keys, values: [batch, heads,
// capacity, width]; bias: [batch, start + 1] or none; y: [batch, heads, width]. The width of a head is a multiple of 32,
// at most 256.
void mentor_attend(const void *qkv, const float *rotation, void *keys, void *values, const void *bias, void *y, long batch,
                   long heads, long width, long capacity, long start, int bf16, int threads);

// The weights of a block, and its part of the cache.
typedef struct {
    const void *attention_norm, *wqkv, *wo, *ffn_norm, *w1, *w3, *w2;
    void *keys, *values;
} mentor_block;

// All blocks for one new position: attention and gated feed-forward network, each after a norm and added to the stream.
// x, y: [rows, heads * head_width]; scratch: rows * (5 * heads * head_width + 2 * hidden) numbers.
void mentor_step(const mentor_block *blocks, long count, const void *x, const float *rotation, const void *bias, void *y,
                 void *scratch, long rows, long heads, long head_width, long hidden, long capacity, long start,
                 float epsilon, int bf16, int threads);

// Reads `count` pieces of memory: sums[i] is the sum of the 32-bit words of piece i, less up to 511 bytes at its end.
void mentor_read(const void *const *pieces, const long *bytes, long count, long long *sums, int threads);
