/* What gyrostat.probes.moments and .channels read of dense arrays, in one pass over memory.

A row is Σx, Σx², Σx³, Σx⁴, max|x|, the number of zeros and the number of elements that are not finite.

Arrays are read in blocks that stay in the first-level cache. Within one, powers of x − pivot are summed in float32; the
pivot is the mean of the block before (of the first block its own), so that neither a large mean nor an outlier costs the
central moments their digits. Blocks are put together in float64. Compilers vectorize the loops where they may reorder
sums (-fassociative-math); what is not finite is told by its bits, and summed apart.
*/
#include <stdint.h>
#include <string.h>

enum { BLOCK = 2048, ROWS = 64, COLUMNS = 7 };
enum { FLOAT32, FLOAT64, BFLOAT16, FLOAT16 };
enum { INFINITE = 0x7f800000 };

#define SMALLEST 0x1p-24f /* of a block's largest magnitude: its fourth powers are normal numbers */
#define LARGEST 0x1p28f   /* and their sum does not overflow */

typedef struct {
    double d1, d2, d3, d4;
    int32_t top;
    int64_t zeros;
} Sums;

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int32_t magnitude_bits(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

static Sums block_sums(const float *x, int64_t n, float pivot) {
    float d1 = 0, d2 = 0, d3 = 0, d4 = 0;
    int32_t top = 0, zeros = 0;
    for (int64_t i = 0; i < n; i++) {
        const float d = x[i] - pivot, square = d * d;
        const int32_t bits = magnitude_bits(x[i]);
        d1 += d;
        d2 += square;
        d3 += square * d;
        d4 += square * square;
        top = bits > top ? bits : top;
        zeros += bits == 0;
    }
    return (Sums){d1, d2, d3, d4, top, zeros};
}

/* Adds Σx^k of a block to the row, from Σ(x − c)^k. */
static void add_powers(double *row, double n, double c, const Sums *sums) {
    const double d1 = sums->d1, d2 = sums->d2, d3 = sums->d3, d4 = sums->d4;
    row[0] += d1;
    row[1] += d2;
    row[2] += d3;
    row[3] += d4;
    if (c == 0) /* infinite sums stay infinite */
        return;
    row[0] += n * c;
    row[1] += c * (2 * d1 + n * c);
    row[2] += c * (3 * d2 + c * (3 * d1 + n * c));
    row[3] += c * (4 * d3 + c * (6 * d2 + c * (4 * d1 + n * c)));
}

static double mean(const float *x, int64_t n) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

/* A block that holds NaN or an infinity: they go into the sums, and NaN into the largest magnitude too. */
static void add_nonfinite(double *row, const float *x, int64_t n, int32_t top) {
    for (int64_t i = 0; i < n; i++) {
        const double value = x[i], square = value * value;
        row[0] += value;
        row[1] += square;
        row[2] += square * value;
        row[3] += square * square;
        row[6] += magnitude_bits(x[i]) >= INFINITE;
    }
    const double largest = from_bits((uint32_t)top);
    if (top > INFINITE || largest > row[4])
        row[4] = largest;
}

/* The power of two that brings `largest` near 1; exact, and never a denormal. */
static float scale_for(float largest) {
    const int32_t exponent = (magnitude_bits(largest) >> 23) - 127;
    const int32_t wanted = exponent < -126 ? 126 : -exponent;
    return from_bits((uint32_t)(127 + (wanted < -126 ? -126 : wanted)) << 23);
}

/* A block whose powers float32 does not hold: scaled, summed, and scaled back in float64. */
static void add_scaled(double *row, const float *x, int64_t n, float largest) {
    float scaled[BLOCK];
    const float scale = scale_for(largest);
    for (int64_t i = 0; i < n; i++)
        scaled[i] = x[i] * scale;
    const double pivot = mean(scaled, n), back = 1 / (double)scale;
    const Sums sums = block_sums(scaled, n, (float)pivot);
    double powers[4] = {0, 0, 0, 0};
    add_powers(powers, (double)n, (float)pivot, &sums);
    row[0] += powers[0] * back;
    row[1] += powers[1] * back * back;
    row[2] += powers[2] * back * back * back;
    row[3] += powers[3] * back * back * back * back;
}

/* Adds a block to the row; `pivot` is what to subtract, and becomes what the next block is to subtract. Answers the bits
   of the largest magnitude. */
static int32_t add_block(double *row, const float *x, int64_t n, float *pivot) {
    const Sums sums = block_sums(x, n, *pivot);
    const float largest = from_bits((uint32_t)sums.top);
    row[5] += (double)sums.zeros;
    if (sums.top >= INFINITE) {
        add_nonfinite(row, x, n, sums.top);
        return sums.top;
    }
    if (largest > row[4]) /* false where a NaN was */
        row[4] = largest;
    const float low = *pivot < 0 ? -*pivot : *pivot, span = largest > low ? largest : low;
    if (span == 0)
        return sums.top;
    if (span < SMALLEST || span > LARGEST) {
        add_scaled(row, x, n, span);
        *pivot = 0;
        return sums.top;
    }
    add_powers(row, (double)n, *pivot, &sums);
    *pivot += (float)(sums.d1 / (double)n);
    return sums.top;
}

static void widen(float *to, const uint16_t *from, int64_t n, int32_t kind) {
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

/* What is wanted of each channel of an array of (outer, channels, inner) elements: Σx², and whether any x is not 0. */
typedef struct {
    int64_t channels, inner;
    double *squares;
    uint8_t *alive;
} Channels;

static void add_run(const Channels *of, int64_t channel, const float *x, int64_t n) {
    float squares = 0;
    int32_t bits = 0;
    for (int64_t i = 0; i < n; i++) {
        squares += x[i] * x[i];
        bits |= magnitude_bits(x[i]);
    }
    of->squares[channel] += (double)squares;
    of->alive[channel] |= bits != 0;
}

/* Sums of channels that lie side by side, in float32 until there are ROWS of them. */
typedef struct {
    int64_t elements;
    float squares[BLOCK];
    int32_t bits[BLOCK];
} Rows;

static void flush(const Channels *of, Rows *rows) {
    for (int64_t i = 0; i < of->channels; i++) {
        of->squares[i] += (double)rows->squares[i];
        of->alive[i] |= rows->bits[i] != 0;
    }
    rows->elements = 0;
}

/* Elements of all channels side by side, from that of channel `first` on; there are no more channels than BLOCK. */
static void add_rows(const Channels *of, Rows *rows, int64_t first, const float *restrict x, int64_t n) {
    const int64_t channels = of->channels;
    float *restrict squares = rows->squares;
    int32_t *restrict bits = rows->bits;
    if (rows->elements == 0) {
        memset(squares, 0, (size_t)channels * sizeof *squares);
        memset(bits, 0, (size_t)channels * sizeof *bits);
    }
    for (int64_t at = 0, channel = first; at < n; channel = 0) {
        const int64_t length = n - at < channels - channel ? n - at : channels - channel;
        for (int64_t i = 0; i < length; i++) {
            squares[channel + i] += x[at + i] * x[at + i];
            bits[channel + i] |= magnitude_bits(x[at + i]);
        }
        at += length;
    }
    rows->elements += n;
    if (rows->elements >= ROWS * channels)
        flush(of, rows);
}

/* Adds the `n` elements from `at` on, whose largest magnitude has the bits `top`. */
static void add_channels(const Channels *of, Rows *rows, int64_t at, const float *x, int64_t n, int32_t top) {
    const float largest = from_bits((uint32_t)top);
    if (top == 0)
        return;
    if (!(largest > 0x1p-40f && largest < 0x1p50f)) { /* squares that float32 does not hold */
        for (int64_t i = 0; i < n; i++) {
            const int64_t channel = (at + i) / of->inner % of->channels;
            of->squares[channel] += (double)x[i] * (double)x[i];
            of->alive[channel] |= magnitude_bits(x[i]) != 0;
        }
        return;
    }
    if (of->inner == 1 && of->channels <= BLOCK) {
        add_rows(of, rows, at % of->channels, x, n);
        return;
    }
    if (of->inner == 1) {
        for (int64_t done = 0, channel = at % of->channels; done < n; channel = 0) {
            const int64_t left = of->channels - channel, length = n - done < left ? n - done : left;
            for (int64_t i = 0; i < length; i++) {
                of->squares[channel + i] += (double)(x[done + i] * x[done + i]);
                of->alive[channel + i] |= magnitude_bits(x[done + i]) != 0;
            }
            done += length;
        }
        return;
    }
    for (int64_t done = 0; done < n;) {
        const int64_t left = of->inner - (at + done) % of->inner, length = n - done < left ? n - done : left;
        add_run(of, (at + done) / of->inner % of->channels, x + done, length);
        done += length;
    }
}

/* How many elements do not lie between the bounds. */
static int64_t outside(const float *x, int64_t n, float low, float high) {
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += (x[i] <= low) | (x[i] >= high);
    return count;
}

/* Reads an array that is not float64 into a row; and, where they are given, into channels, and row[7] into `bounds`. */
static void read_narrow(double *row, const void *data, int64_t n, int32_t kind, const Channels *of,
                        const float *bounds) {
    float wide[BLOCK], pivot = 0;
    Rows rows;
    rows.elements = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t length = n - at < BLOCK ? n - at : BLOCK;
        const float *x = (const float *)data + at;
        if (kind != FLOAT32) {
            widen(wide, (const uint16_t *)data + at, length, kind);
            x = wide;
        }
        if (at == 0) {
            const float first = (float)mean(x, length);
            pivot = magnitude_bits(first) < INFINITE ? first : 0;
        }
        const int32_t top = add_block(row, x, length, &pivot);
        if (of != 0)
            add_channels(of, &rows, at, x, length, top);
        if (bounds != 0)
            row[COLUMNS] += (double)outside(x, length, bounds[0], bounds[1]);
    }
    if (rows.elements > 0)
        flush(of, &rows);
}

static void read_float64(double *row, const double *x, int64_t n) {
    double largest = 0, sum = 0;
    int64_t zeros = 0, nonfinite = 0, nan = 0;
    for (int64_t i = 0; i < n; i++) {
        const double magnitude = x[i] < 0 ? -x[i] : x[i];
        largest = magnitude > largest ? magnitude : largest;
        zeros += x[i] == 0;
        nonfinite += !(magnitude < (double)__builtin_inf());
        nan += x[i] != x[i];
        sum += x[i];
    }
    const double pivot = nonfinite > 0 ? 0 : sum / (double)n;
    Sums sums = {0, 0, 0, 0, 0, 0};
    for (int64_t i = 0; i < n; i++) {
        const double d = x[i] - pivot, square = d * d;
        sums.d1 += d;
        sums.d2 += square;
        sums.d3 += square * d;
        sums.d4 += square * square;
    }
    add_powers(row, (double)n, pivot, &sums);
    row[4] = nan > 0 ? (double)__builtin_nan("") : largest;
    row[5] = (double)zeros;
    row[6] = (double)nonfinite;
}

/* One row for each of `count` arrays: `kinds` tells their number formats, `lengths` how many elements they have. */
void gyrostat_moments(int64_t count, const void *const *data, const int64_t *lengths, const int32_t *kinds,
                      double *rows) {
    memset(rows, 0, (size_t)count * COLUMNS * sizeof *rows);
    for (int64_t i = 0; i < count; i++) {
        double *row = rows + i * COLUMNS;
        if (lengths[i] == 0)
            continue;
        if (kinds[i] == FLOAT64)
            read_float64(row, data[i], lengths[i]);
        else
            read_narrow(row, data[i], lengths[i], kinds[i], 0, 0);
    }
}

/* A row of one array of (outer, channels, inner) elements, not float64, with the number of elements at or beyond the
   bounds behind it; Σx² of each channel; and whether it has an element that is not 0. */
void gyrostat_channels(const void *data, int32_t kind, int64_t outer, int64_t channels, int64_t inner, float low,
                       float high, double *row, double *squares, uint8_t *alive) {
    const Channels of = {channels, inner, squares, alive};
    const float bounds[2] = {low, high};
    memset(row, 0, (COLUMNS + 1) * sizeof *row);
    memset(squares, 0, (size_t)channels * sizeof *squares);
    memset(alive, 0, (size_t)channels);
    read_narrow(row, data, outer * channels * inner, kind, &of, low < high ? bounds : 0);
}

/* The lower median of each of `count` segments of `values`, which is reordered; NaN where a value is. */
void gyrostat_medians(int64_t count, const int64_t *lengths, double *values, double *medians) {
    for (int64_t segment = 0; segment < count; values += lengths[segment], segment++) {
        const int64_t middle = (lengths[segment] - 1) / 2;
        int64_t low = 0, high = lengths[segment] - 1, nan = 0;
        for (int64_t i = 0; i <= high; i++)
            nan += values[i] != values[i];
        if (nan > 0 || high < 0) {
            medians[segment] = __builtin_nan("");
            continue;
        }
        while (low < high) { /* Hoare's selection */
            const double pivot = values[low + (high - low) / 2];
            int64_t i = low, j = high;
            while (i <= j) {
                while (values[i] < pivot)
                    i++;
                while (values[j] > pivot)
                    j--;
                if (i <= j) {
                    const double kept = values[i];
                    values[i++] = values[j];
                    values[j--] = kept;
                }
            }
            if (middle <= j)
                high = j;
            else if (middle >= i)
                low = i;
            else
                break;
        }
        medians[segment] = values[middle];
    }
}
