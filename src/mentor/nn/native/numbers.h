// Numbers, and vectors as long as the processor's registers, in the notation that GCC and Clang share.
//
// Weights and activations are float32, or bfloat16: the upper half of a float32. Arithmetic is float32. The flag `bf16`
// is a constant wherever these functions end up, so that the compiler drops the other half.
#pragma once
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { PAIR = 2 * LANES };
typedef float floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t halves __attribute__((vector_size(4 * LANES), aligned(2), may_alias)); // PAIR bfloat16 numbers, where they lie

INLINE float widen(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

// Rounds to nearest, ties to even; a NaN stays one.
INLINE uint16_t narrow(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

INLINE const char *at(const void *array, long i, int bf16) { return (const char *)array + (bf16 ? 2 : 4) * i; }

INLINE float get(const void *array, long i, int bf16) {
    return bf16 ? widen(((const uint16_t *)array)[i]) : ((const float *)array)[i];
}

INLINE void put(void *array, long i, float number, int bf16) {
    if (bf16)
        ((uint16_t *)array)[i] = narrow(number);
    else
        ((float *)array)[i] = number;
}

// PAIR numbers from i on: of float32 the first and the second half, of bfloat16 the even and the odd ones.
INLINE void get_pair(const void *array, long i, int bf16, floats *a, floats *b) {
    if (bf16) {
        ints both = *(const halves *)at(array, i, 1);
        *a = (floats)(both << 16);
        *b = (floats)(both & ~0xffff);
    } else {
        *a = *(const floats *)at(array, i, 0);
        *b = *(const floats *)at(array, i + LANES, 0);
    }
}

// Where number i of `width` goes in a float32 array that is to meet get_pair(.., bf16, ..) vector by vector.
INLINE long place(long i, long width, int bf16) {
    return bf16 && i < width / PAIR * PAIR ? i / PAIR * PAIR + i % 2 * LANES + i % PAIR / 2 : i;
}

INLINE floats splat(float number) { return (floats){0} + number; }

INLINE floats choose(ints mask, floats yes, floats no) { return (floats)(((ints)yes & mask) | ((ints)no & ~mask)); }

// PICK(a, b, EVEN): every second number of a and b, in order.
#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (ints){__VA_ARGS__})
#endif
#if defined(__AVX512F__)
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif defined(__AVX__)
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#endif

INLINE floats add_neighbours(floats a, floats b) { return PICK(a, b, EVEN) + PICK(a, b, ODD); }

INLINE float sum_lanes(floats vector) {
    UNROLL for (int count = LANES; count > 1; count /= 2) vector = add_neighbours(vector, vector);
    return vector[0];
}

// e^x for x <= 0, to about 2e-7; 0 below -87. 2^n times a polynomial in the rest, |rest| <= ln(2) / 2.
INLINE floats exponential(floats x) {
    const float round = 12582912.0f; // 1.5 * 2^23: adding it leaves no room for a fraction
    ints vanishes = x < -87.0f;
    x = choose(vanishes, splat(0), x);
    floats shifted = x * 1.44269504f + round, n = shifted - round;
    floats rest = (x - n * 0.693359375f) + n * 2.12194440e-4f; // ln(2) in two parts
    floats sum = 1.9875691e-4f * rest + 1.3981999e-3f;
    sum = sum * rest + 8.3334519e-3f;
    sum = sum * rest + 4.1665796e-2f;
    sum = sum * rest + 1.6666666e-1f;
    sum = sum * rest + 5.0e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    return choose(vanishes, splat(0), (floats)((ints)sum + ((ints)shifted << 23)));
}
