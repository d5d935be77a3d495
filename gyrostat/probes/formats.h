/* The number formats that gyrostat.probes.moments.KINDS numbers, and how their bits are read. */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 4096 }; /* elements looked at together: they stay in the first-level cache */
enum { FLOAT32, FLOAT64, BFLOAT16, FLOAT16 };
enum { INFINITE = 0x7f800000 };
enum { COLUMNS = 7 }; /* of a row: Σx, Σx², Σx³, Σx⁴, max|x|, numbers of zeros and of elements that are not finite */

static inline float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline int32_t magnitude_bits(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

static inline void widen(float *to, const uint16_t *from, int64_t n, int32_t kind) {
    if (kind == BFLOAT16) {
        for (int64_t i = 0; i < n; i++)
            to[i] = from_bits((uint32_t)from[i] << 16);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const uint32_t sign = (uint32_t)(from[i] & 0x8000) << 16, rest = from[i] & 0x7fff;
        const float value = from_bits(rest << 13) * 0x1p112f; /* exact, of float16's denormals too */
        const uint32_t special = (rest << 13) | INFINITE;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        to[i] = from_bits((rest >= 0x7c00 ? special : bits) | sign);
    }
}

/* A block as float32, whatever it is stored as (but float64); `wide` has room for it. */
static inline const float *opened(float *wide, const void *data, int64_t at, int64_t n, int32_t kind) {
    if (kind == FLOAT32)
        return (const float *)data + at;
    widen(wide, (const uint16_t *)data + at, n, kind);
    return wide;
}

/* Of many elements: sums of the powers of x − c, the bits of the largest magnitude, and the number of zeros. */
typedef struct {
    double d1, d2, d3, d4;
    int32_t top;
    int64_t zeros;
} Sums;

/* What to subtract from the first elements, `x`: their mean, or 0 where powers of x itself do as well. */
float gyrostat_pivot(const float *x, int64_t n);

/* What to subtract from the next elements, after `n` with the sums of x − c. */
float gyrostat_next_pivot(const Sums *sums, double n, double c);

/* Whether float32 holds the fourth powers of elements up to the magnitude of these bits, less the pivot. */
int gyrostat_held(int32_t top, float pivot);

/* Adds `n` elements, which are finite, to the row. */
void gyrostat_add_sums(double *row, double n, double c, const Sums *sums);

/* Adds a block to the row; `pivot` is what to subtract, and becomes what the next block is to subtract. */
void gyrostat_add_block(double *row, const float *x, int64_t n, float *pivot);
