// Matrices turned, some at a time, so that what was along columns lies along rows. Reads and writes are to runs of
// memory: a block of 32 x 8 threads moves a tile of 32 x 32 through shared memory, whose rows are one longer than the
// tile so that a column of it lies in 32 different banks.
#include "common.cuh"

#define TILE 32
#define STEP 8

// to [n, columns, rows] = from [n, rows, columns] turned; item i of `to` is item to_item[i], of `from` item from_item[i]
extern "C" __global__ void __launch_bounds__(256) turn(
    const float* __restrict__ from, float* __restrict__ to, const int* __restrict__ from_item,
    const int* __restrict__ to_item, int rows, int columns)
{
    __shared__ float tile[TILE][TILE + 1];
    const i64 size = i64(rows) * columns;
    from += from_item[blockIdx.z] * size;
    to += to_item[blockIdx.z] * size;
    const int first_row = blockIdx.x * TILE, first_column = blockIdx.y * TILE;
    for (int y = threadIdx.y; y < TILE; y += STEP) {
        const int row = first_row + y, column = first_column + int(threadIdx.x);
        if (row < rows && column < columns)
            tile[y][threadIdx.x] = from[i64(row) * columns + column];
    }
    __syncthreads();
    for (int y = threadIdx.y; y < TILE; y += STEP) {
        const int row = first_row + int(threadIdx.x), column = first_column + y;
        if (row < rows && column < columns)
            to[i64(column) * rows + row] = tile[threadIdx.x][y];
    }
}
