// CUDA C++ as plain C++ on the host, so that the .cu files are tested where there is no GPU.
//
// The threads of a block run one after the other. Where they meet at barriers (DOSECALC_BARRIERS), each is a fiber with
// a stack of its own that rests at the barrier until all others have come; barriers that not all threads reach, or
// that they reach at different places, are reported, as are lanes that a warp exchange misses. Blocks, and threads
// between barriers, run in the order asked for (forward, backward, or strewn): a result that depends on it is a race.
// With DOSECALC_RACES, every access to memory is watched besides; see host_races.cpp.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static __attribute__((section("dosecalc_shared")))
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __CUDA_HOST_SHIM__ 1

// where the linker puts all of it, if there is any
extern char shared_begin[] __asm__("__start_dosecalc_shared") __attribute__((weak, visibility("hidden")));
extern char shared_end[] __asm__("__stop_dosecalc_shared") __attribute__((weak, visibility("hidden")));

#ifdef DOSECALC_RACES
extern "C" void dosecalc_race_block(const void*, std::size_t, const void*, std::size_t);
extern "C" void dosecalc_race_run(std::uint64_t block, unsigned thread, unsigned block_barriers, unsigned warp_barriers);
extern "C" void dosecalc_race_rest();
extern "C" void dosecalc_race_atomic(bool begins);
extern "C" const char* dosecalc_race_found();
#else
inline void dosecalc_race_block(const void*, std::size_t, const void*, std::size_t) {}
inline void dosecalc_race_run(std::uint64_t, unsigned, unsigned, unsigned) {}
inline void dosecalc_race_rest() {}
inline void dosecalc_race_atomic(bool) {}
inline const char* dosecalc_race_found() { return ""; }
#endif

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(8) int2 { int x, y; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }

namespace dosecalc_shim {
inline uint3 thread_index, block_index;
inline dim3 block_dim, grid_dim;
inline std::vector<char> shared_memory;
constexpr std::size_t SHARED_GUARD = 128; // bytes on both sides of the dynamic shared memory
inline std::string error;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    State state;
    int line;
    unsigned mask;
    unsigned block_barriers, warp_barriers; // passed
    uint3 index;
    std::uint64_t exchanged;
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline unsigned current;
inline void (*kernel_call)(void*);
inline void* kernel_data;

inline void rest(State state, unsigned mask, int line)
{
    Fiber& f = fibers[current];
    f.state = state;
    f.mask = mask;
    f.line = line;
    ++(state == State::at_block_barrier ? f.block_barriers : f.warp_barriers);
    swapcontext(&f.context, &scheduler);
}

inline void fiber_main()
{
    kernel_call(kernel_data);
    fibers[current].state = State::done;
    swapcontext(&fibers[current].context, &scheduler);
}

inline bool fail(const char* what, int line)
{
    error = std::string(what) + " (line " + std::to_string(line) + ")";
    return false;
}

// Let go on whoever waits for a barrier that is complete; false when nobody can go on.
inline bool release(unsigned n)
{
    bool released = false;
    for (unsigned first = 0; first < n; first += 32) {
        const unsigned last = first + 32 < n ? first + 32 : n;
        for (unsigned i = first; i < last; ++i) {
            Fiber& f = fibers[i];
            if (f.state != State::at_warp_barrier)
                continue;
            bool complete = true;
            for (unsigned j = first; j < last; ++j) {
                const Fiber& other = fibers[j];
                if (!(f.mask >> (j - first) & 1) || other.state == State::done)
                    continue;
                complete = complete && other.state == State::at_warp_barrier && other.mask == f.mask &&
                           other.line == f.line;
            }
            if (!complete)
                continue;
            const unsigned mask = f.mask;
            for (unsigned j = first; j < last; ++j)
                if ((mask >> (j - first) & 1) && fibers[j].state == State::at_warp_barrier)
                    fibers[j].state = State::ready;
            released = true;
        }
    }
    if (released)
        return true;
    int line = -1;
    for (unsigned i = 0; i < n; ++i) {
        const Fiber& f = fibers[i];
        if (f.state == State::done)
            continue;
        if (f.state == State::at_warp_barrier)
            return fail("threads of a warp wait for each other at different places", f.line);
        if (line >= 0 && f.line != line)
            return fail("threads of a block wait at different barriers", f.line);
        line = f.line;
    }
    for (unsigned i = 0; i < n; ++i)
        if (fibers[i].state == State::at_block_barrier)
            fibers[i].state = State::ready;
    return true;
}

// The i-th of n in the order asked for: 0 forward, 1 backward, 2 strewn (a step that shares no factor with n).
inline std::uint64_t in_order(std::uint64_t i, std::uint64_t n, unsigned order)
{
    if (order == 0)
        return i;
    if (order == 1)
        return n - 1 - i;
    std::uint64_t step = n / 2 + 1;
    for (;; ++step) {
        std::uint64_t a = step, b = n;
        while (b) {
            const std::uint64_t r = a % b;
            a = b;
            b = r;
        }
        if (a == 1)
            return (i * step + n / 3) % n;
    }
}

inline uint3 unravel(std::uint64_t i, dim3 n)
{
    return {unsigned(i % n.x), unsigned(i / n.x % n.y), unsigned(i / n.x / n.y)};
}

inline bool run_block_of_fibers(std::uint64_t block, unsigned n, unsigned order)
{
    if (fibers.size() < n)
        fibers.resize(n);
    for (unsigned i = 0; i < n; ++i) {
        Fiber& f = fibers[i];
        f.stack.resize(128 * 1024);
        f.state = State::ready;
        f.index = unravel(i, block_dim);
        f.block_barriers = f.warp_barriers = 0;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = f.stack.size();
        f.context.uc_link = nullptr;
        makecontext(&f.context, fiber_main, 0);
    }
    for (;;) {
        unsigned alive = 0;
        for (unsigned i = 0; i < n; ++i) {
            current = unsigned(in_order(i, n, order));
            Fiber& f = fibers[current];
            if (f.state == State::ready) {
                thread_index = f.index;
                dosecalc_race_run(block, current, f.block_barriers, f.warp_barriers);
                swapcontext(&scheduler, &f.context);
                dosecalc_race_rest();
            }
            alive += f.state != State::done;
        }
        if (!alive)
            return true;
        if (!release(n))
            return false;
    }
}

inline int launch(void (*call)(void*), void* data, const unsigned* dims, unsigned shared_bytes, unsigned order)
{
    kernel_call = call;
    kernel_data = data;
    grid_dim = {dims[0], dims[1], dims[2]};
    block_dim = {dims[3], dims[4], dims[5]};
    error.clear();
    const std::uint64_t blocks = std::uint64_t(dims[0]) * dims[1] * dims[2];
    const unsigned threads = dims[3] * dims[4] * dims[5];
    if (threads > 1024 || dims[1] > 65535 || dims[2] > 65535 || dims[0] > 2147483647u)
        return !fail("the grid or the block is larger than CUDA allows", 0);
    const std::size_t fixed = shared_begin ? shared_end - shared_begin : 0;
    if (fixed + shared_bytes > 48 * 1024)
        return !fail("a block asks for more shared memory than every device gives", 0);
    for (std::uint64_t i = 0; i < blocks; ++i) {
        const std::uint64_t block = in_order(i, blocks, order);
        block_index = unravel(block, grid_dim);
        shared_memory.assign(shared_bytes + 2 * SHARED_GUARD, char(0xff)); // whatever was there before: NaN
        if (fixed)
            std::memset(shared_begin, 0xff, fixed);
        dosecalc_race_block(shared_memory.data() + SHARED_GUARD, shared_bytes, shared_begin, fixed);
#ifdef DOSECALC_BARRIERS
        if (!run_block_of_fibers(block, threads, order))
            return 1;
#else
        for (unsigned j = 0; j < threads; ++j) {
            const unsigned thread = unsigned(in_order(j, threads, order));
            thread_index = unravel(thread, block_dim);
            dosecalc_race_run(block, thread, 0, 0);
            call(data);
            dosecalc_race_rest();
        }
#endif
        if (*dosecalc_race_found())
            return !fail(dosecalc_race_found(), 0);
    }
    return 0;
}

template <class... A, std::size_t... I>
void unpack(void (*kernel)(A...), void** args, std::index_sequence<I...>)
{
    kernel(*static_cast<std::remove_const_t<A>*>(args[I])...);
}

// A kernel with its arguments as CUDA's own launch takes them: an array of pointers to them.
template <auto kernel> struct Trampoline;
template <class... A, void (*kernel)(A...)> struct Trampoline<kernel> {
    static void call(void* data) { unpack(kernel, static_cast<void**>(data), std::index_sequence_for<A...>{}); }
};

template <class T> T exchange(unsigned mask, T value, int source_lane, int line)
{
    static_assert(sizeof(T) <= 8, "a warp exchanges values of at most 8 bytes");
    Fiber& f = fibers[current];
    std::memcpy(&f.exchanged, &value, sizeof(T));
    const unsigned self = current, first = self / 32 * 32;
    rest(State::at_warp_barrier, mask, line);
    const unsigned from = first + unsigned(source_lane);
    T out = value;
    if (source_lane >= 0 && source_lane < 32 && from < fibers.size() && (mask >> source_lane & 1))
        std::memcpy(&out, &fibers[from].exchanged, sizeof(T));
    rest(State::at_warp_barrier, mask, -line);
    return out;
}

inline unsigned ballot(unsigned mask, bool value, int line)
{
    Fiber& f = fibers[current];
    f.exchanged = value;
    const unsigned first = current / 32 * 32;
    rest(State::at_warp_barrier, mask, line);
    unsigned out = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if ((mask >> lane & 1) && first + lane < fibers.size() && fibers[first + lane].exchanged)
            out |= 1u << lane;
    rest(State::at_warp_barrier, mask, -line);
    return out;
}

inline int lane() { return int(current % 32); }
} // namespace dosecalc_shim

#define threadIdx (dosecalc_shim::thread_index)
#define blockIdx (dosecalc_shim::block_index)
#define blockDim (dosecalc_shim::block_dim)
#define gridDim (dosecalc_shim::grid_dim)
#define warpSize 32

#ifdef DOSECALC_BARRIERS
#define __syncthreads() dosecalc_shim::rest(dosecalc_shim::State::at_block_barrier, 0, __LINE__)
#define __syncwarp(...) dosecalc_shim::rest(dosecalc_shim::State::at_warp_barrier, 0xffffffffu, __LINE__)
#define __shfl_sync(mask, value, from) dosecalc_shim::exchange(mask, value, int(from), __LINE__)
#define __shfl_xor_sync(mask, value, bits) \
    dosecalc_shim::exchange(mask, value, dosecalc_shim::lane() ^ int(bits), __LINE__)
#define __shfl_down_sync(mask, value, by) \
    dosecalc_shim::exchange(mask, value, dosecalc_shim::lane() + int(by), __LINE__)
#define __shfl_up_sync(mask, value, by) dosecalc_shim::exchange(mask, value, dosecalc_shim::lane() - int(by), __LINE__)
#define __ballot_sync(mask, value) dosecalc_shim::ballot(mask, bool(value), __LINE__)
#define __any_sync(mask, value) (dosecalc_shim::ballot(mask, bool(value), __LINE__) != 0)
#define __all_sync(mask, value) (dosecalc_shim::ballot(mask, !bool(value), __LINE__) == 0)
#endif

// dynamic shared memory: DYNAMIC_SHARED(float, name); in a kernel
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(dosecalc_shim::shared_memory.data() + dosecalc_shim::SHARED_GUARD)

using std::abs;
using std::isfinite;
using std::isinf;
using std::isnan;

// CUDA's min and max: of a number and NaN, the number
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
inline double min(double a, float b) { return std::fmin(a, double(b)); }
inline double max(double a, float b) { return std::fmax(a, double(b)); }
inline double min(float a, double b) { return std::fmin(double(a), b); }
inline double max(float a, double b) { return std::fmax(double(a), b); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }

inline int __float_as_int(float a) { int b; std::memcpy(&b, &a, 4); return b; }
inline unsigned __float_as_uint(float a) { unsigned b; std::memcpy(&b, &a, 4); return b; }
inline float __int_as_float(int a) { float b; std::memcpy(&b, &a, 4); return b; }
inline float __uint_as_float(unsigned a) { float b; std::memcpy(&b, &a, 4); return b; }
inline long long __double_as_longlong(double a) { long long b; std::memcpy(&b, &a, 8); return b; }
inline double __longlong_as_double(long long a) { double b; std::memcpy(&b, &a, 8); return b; }
inline int __float2int_rz(float a) { return int(a); }
inline int __float2int_rd(float a) { return int(std::floor(a)); }
inline int __float2int_rn(float a) { return int(std::nearbyint(a)); }
inline int __double2int_rz(double a) { return int(a); }
inline int __double2int_rd(double a) { return int(std::floor(a)); }
inline int __double2int_rn(double a) { return int(std::nearbyint(a)); }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
inline double rsqrt(double a) { return 1.0 / std::sqrt(a); }
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __clz(int a) { return a ? __builtin_clz(unsigned(a)) : 32; }
inline int __ffs(int a) { return __builtin_ffs(a); }

template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> void __stcs(T* p, T v) { *p = v; }
template <class T> void __stcg(T* p, T v) { *p = v; }

// While one lives, accesses are those of an atomic operation.
struct AtomicAccess {
    AtomicAccess() { dosecalc_race_atomic(true); }
    ~AtomicAccess() { dosecalc_race_atomic(false); }
};
template <class T, class F> T atomically(T* p, F changed)
{
    const AtomicAccess now;
    const T old = *p;
    *p = changed(old);
    return old;
}
template <class T> T atomicAdd(T* p, T v) { return atomically(p, [v](T old) { return T(old + v); }); }
template <class T> T atomicMin(T* p, T v) { return atomically(p, [v](T old) { return v < old ? v : old; }); }
template <class T> T atomicMax(T* p, T v) { return atomically(p, [v](T old) { return v > old ? v : old; }); }
template <class T> T atomicOr(T* p, T v) { return atomically(p, [v](T old) { return T(old | v); }); }
template <class T> T atomicAnd(T* p, T v) { return atomically(p, [v](T old) { return T(old & v); }); }
template <class T> T atomicExch(T* p, T v) { return atomically(p, [v](T) { return v; }); }
template <class T> T atomicCAS(T* p, T expected, T v)
{
    return atomically(p, [expected, v](T old) { return old == expected ? v : old; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}
