/* What gyrostat.probes.channels and .host_outputs read of a module's output, in one pass over memory: a row of moments with
two more columns, and of each channel Σx² and whether any x is not 0. And what a step's readings come to.
*/
#include "formats.h"

enum { ROWS = 64 };
enum { SHORT_RUN = 64 }; /* fewer elements of a channel side by side are columns of their own */
enum { LONG_RUN = 512 }; /* elements of a channel side by side that are worth a block of their own */
enum { SATURATED = COLUMNS, ELEMENTS, CALLS, WIDTH }; /* of a row; calls are those whose channels were read */
#define ROUNDING 1e-10   /* a variance below so much of the mean square has no shape */

/* How to read arrays of (outer, channels, inner) elements that are not float64, and what was read of them. */
typedef struct {
    int64_t outer, channels, inner;
    float low, high; /* elements at or beyond these are saturated, where low < high */
    int32_t kind;
    int32_t measured; /* steps whose channels were read */
    double *row;
    double *squares; /* 0 where there are no channels */
    uint8_t *alive;
    int32_t *silent; /* of each channel, for how many of these steps it has been 0 */
} Reading;

static void add_run(const Reading *of, int64_t channel, const float *x, int64_t n) {
    float squares = 0;
    int32_t bits = 0;
    for (int64_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    if (squares == 0) /* of zeros, or of what float32 does not hold the squares of */
        for (int64_t i = 0; i < n; i++)
            bits |= magnitude_bits(x[i]);
    of->squares[channel] += (double)squares;
    of->alive[channel] |= squares != 0 || bits != 0;
}

/* Sums of columns that lie side by side, `inner` of each channel, in float32 until there are ROWS of them. */
typedef struct {
    int64_t count;
    float squares[BLOCK];
    int32_t bits[BLOCK];
} Rows;

static void flush(const Reading *of, Rows *rows) {
    for (int64_t channel = 0, i = 0; channel < of->channels; channel++)
        for (const int64_t end = i + of->inner; i < end; i++) {
            of->squares[channel] += (double)rows->squares[i];
            of->alive[channel] |= rows->squares[i] != 0 || rows->bits[i] != 0;
        }
    rows->count = 0;
}

/* Whole rows of all columns side by side; there are no more columns than BLOCK. */
static void add_rows(const Reading *of, Rows *rows, const float *restrict x, int64_t n) {
    const int64_t columns = of->channels * of->inner;
    float *restrict squares = rows->squares;
    int32_t *restrict bits = rows->bits;
    if (rows->count == 0) {
        memset(squares, 0, (size_t)columns * sizeof *squares);
        memset(bits, 0, (size_t)columns * sizeof *bits);
    }
    const float *const end = x + n, *row = x;
    rows->count += n / columns;
    for (; end - row >= 4 * columns; row += 4 * columns) {
        const float *restrict a = row, *restrict b = a + columns, *restrict c = b + columns, *restrict d = c + columns;
        for (int64_t i = 0; i < columns; i++)
            squares[i] += (a[i] * a[i] + b[i] * b[i]) + (c[i] * c[i] + d[i] * d[i]);
    }
    for (; row < end; row += columns)
        for (int64_t i = 0; i < columns; i++)
            squares[i] += row[i] * row[i];
    int32_t silent = 0;
    for (int64_t i = 0; i < columns; i++)
        silent += squares[i] == 0;
    if (silent > 0) /* columns of zeros, or of what float32 does not hold the squares of */
        for (row = x; row < end; row += columns)
            for (int64_t i = 0; i < columns; i++)
                bits[i] |= magnitude_bits(row[i]);
    if (rows->count >= ROWS)
        flush(of, rows);
}

/* Whether blocks are made of whole rows of columns. */
static int side_by_side(const Reading *of) {
    return of->inner < SHORT_RUN && of->channels <= BLOCK / of->inner;
}

/* Adds the `n` elements from `at` on, whose largest magnitude has the bits `top`. */
static void add_channels(const Reading *of, Rows *rows, int64_t at, const float *x, int64_t n, int32_t top) {
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
    if (side_by_side(of)) {
        add_rows(of, rows, x, n);
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

/* A block that is all of one channel: its squares are among the sums, unless the pivot was so large as to blur them. */
static int32_t add_long_run(const Reading *of, int64_t channel, const float *x, int64_t n, float *pivot) {
    double part[COLUMNS] = {0};
    const double before = *pivot;
    const int32_t top = gyrostat_add_block(part, x, n, pivot);
    if (part[1] > 0.01 * (double)n * before * before)
        of->squares[channel] += part[1];
    else
        for (int64_t i = 0; i < n; i++)
            of->squares[channel] += (double)x[i] * (double)x[i];
    of->alive[channel] |= top != 0;
    for (int32_t i = 0; i < COLUMNS; i++)
        if (i != 4)
            of->row[i] += part[i];
    if (part[4] > of->row[4] || part[4] != part[4])
        of->row[4] = part[4];
    return top;
}

/* How many elements do not lie between the bounds. */
static int64_t outside(const float *x, int64_t n, float low, float high) {
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += (x[i] <= low) | (x[i] >= high);
    return count;
}

/* Adds one output to what was read. */
void gyrostat_read_output(const void *data, const Reading *of) {
    const int64_t n = of->outer * of->channels * of->inner;
    const int by_rows = side_by_side(of), by_runs = of->inner >= LONG_RUN;
    const int64_t columns = of->channels * of->inner, most = by_rows ? BLOCK / columns * columns : BLOCK;
    float wide[BLOCK], pivot = 0;
    Rows rows;
    rows.count = 0;
    for (int64_t at = 0, length; at < n; at += length) {
        length = n - at < most ? n - at : most;
        if (by_runs && length > of->inner - at % of->inner)
            length = of->inner - at % of->inner;
        const float *x = opened(wide, data, at, length, of->kind);
        if (at == 0)
            pivot = gyrostat_pivot(x, length);
        if (by_runs) {
            add_long_run(of, at / of->inner % of->channels, x, length, &pivot);
        } else {
            const int32_t top = gyrostat_add_block(of->row, x, length, &pivot);
            add_channels(of, &rows, at, x, length, top);
        }
        if (of->low < of->high)
            of->row[SATURATED] += (double)outside(x, length, of->low, of->high);
    }
    if (rows.count > 0)
        flush(of, &rows);
    of->row[ELEMENTS] += (double)n;
    of->row[CALLS] += 1;
}

/* The same of one array by itself. */
void gyrostat_channels(const void *data, int32_t kind, int64_t outer, int64_t channels, int64_t inner, float low,
                       float high, double *row, double *squares, uint8_t *alive) {
    const Reading of = {outer, channels, inner, low, high, kind, 0, row, squares, alive, 0};
    memset(row, 0, WIDTH * sizeof *row);
    memset(squares, 0, (size_t)channels * sizeof *squares);
    memset(alive, 0, (size_t)channels);
    gyrostat_read_output(data, &of);
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

static void forget(const Reading *of) {
    if (of->row[ELEMENTS] == 0)
        return;
    memset(of->row, 0, WIDTH * sizeof *of->row);
    if (of->squares != 0) {
        memset(of->squares, 0, (size_t)of->channels * sizeof *of->squares);
        memset(of->alive, 0, (size_t)of->channels);
    }
}

/* Drops what was read in a step that never ended. */
void gyrostat_forget_outputs(int64_t count, const Reading *readings) {
    for (int64_t i = 0; i < count; i++)
        forget(readings + i);
}

/* Fraction of channels that were 0 in the last `window` steps, or in all of fewer; counts this step. */
static double dead_fraction(Reading *of, int32_t window) {
    int64_t dead = 0;
    of->measured++;
    const int32_t needed = of->measured < window ? of->measured : window;
    for (int64_t i = 0; i < of->channels; i++) {
        of->silent[i] = of->alive[i] ? 0 : of->silent[i] + 1;
        dead += of->silent[i] >= needed;
    }
    return (double)dead / (double)of->channels;
}

/* What was read of `count` modules in a step, as `table`: a row for each metric of the probe, whose elements are left as
   they are where there is nothing to tell. All is dropped afterwards. */
void gyrostat_summarize_outputs(int64_t count, Reading *readings, int32_t window, float *table) {
    for (int64_t i = 0; i < count; i++) {
        Reading *const of = readings + i;
        const double *const row = of->row, n = row[ELEMENTS];
        float *const at = table + i;
        if (n == 0)
            continue;
        const double m1 = row[0] / n, m2 = row[1] / n, m3 = row[2] / n, m4 = row[3] / n, square = m1 * m1;
        const double variance = m2 - square, fourth = m4 - 4 * m1 * m3 + 6 * square * m2 - 3 * square * square;
        at[0] = (float)m1;
        at[count] = (float)sqrt(m2);
        at[2 * count] = (float)row[4];
        at[3 * count] = (float)(row[5] / n);
        at[4 * count] = (float)row[6];
        if (!(variance <= ROUNDING * m2))
            at[5 * count] = (float)(fourth / (variance * variance));
        if (of->low < of->high)
            at[6 * count] = (float)(row[SATURATED] / n);
        if (row[CALLS] > 0) {
            double largest = 0, typical;
            for (int64_t j = 0; j < of->channels; j++)
                largest = of->squares[j] > largest ? of->squares[j] : largest;
            at[7 * count] = (float)dead_fraction(of, window);
            gyrostat_medians(1, &of->channels, of->squares, &typical);
            if (typical != 0)
                at[8 * count] = (float)sqrt(largest / typical);
        }
        forget(of);
    }
}
