// Finds accesses of a kernel's threads that nothing orders, in the host build: data races that a device may show and
// threads run one after the other hide.
//
// The kernels are compiled with -fsanitize=thread, which makes the compiler call a function before every access to
// memory; these are the functions, instead of those of the sanitizer's own library. What is watched are the arrays that
// a launch was given, and shared memory. Two accesses to one place are ordered if they come from the same thread, from
// one block on different sides of a block barrier, or from one warp on different sides of a warp barrier; unordered
// ones are a race unless both read or both are atomic. Accesses just beside an array are found, too.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace {
// Who did something: block and thread counted from 1, and how many barriers it had passed.
struct Who {
    std::uint64_t block;
    std::uint32_t thread, block_barriers, warp_barriers;
};

enum Readers : std::uint8_t { one, lanes_of_a_warp, warps_of_a_block, blocks };

// The last write to a place, and the reads since that could be unordered with a later write.
struct Cell {
    Who writer, reader;
    bool atomic;
    Readers readers;
};

struct Range {
    std::uintptr_t begin, end;
    std::size_t grain; // bytes that a cell stands for
    std::string name;
    bool shared, alone; // alone: nothing else of the library lies beside it
    std::vector<Cell> cells;
};

constexpr std::uintptr_t BESIDE = 128; // arrays and dynamic shared memory have at least so much unused around them
std::vector<Range> ranges;
std::size_t last_range;
Who now;
bool running, in_atomic;
std::string found;

bool ordered(const Who& then)
{
    if (then.block != now.block)
        return false;
    if (then.thread == now.thread || then.block_barriers != now.block_barriers)
        return true;
    return (then.thread - 1) / 32 == (now.thread - 1) / 32 && then.warp_barriers != now.warp_barriers;
}

std::string named(const Who& who)
{
    return "thread " + std::to_string(who.thread - 1) + " of block " + std::to_string(who.block - 1);
}

void report(const Range& range, std::size_t cell, const Who& other, const char* did, const char* does)
{
    if (found.empty())
        found = "race: " + named(other) + " " + did + " and " + named(now) + " " + does + " " + range.name + " at byte " +
                std::to_string(cell * range.grain);
}

bool readers_ordered(const Cell& cell)
{
    if (cell.reader.block == 0)
        return true;
    if (cell.readers == blocks || cell.reader.block != now.block)
        return false;
    if (cell.reader.block_barriers != now.block_barriers)
        return true;
    if (cell.readers == warps_of_a_block)
        return false;
    if (cell.readers == lanes_of_a_warp)
        return (cell.reader.thread - 1) / 32 == (now.thread - 1) / 32 && cell.reader.warp_barriers != now.warp_barriers;
    return ordered(cell.reader);
}

void add_reader(Cell& cell)
{
    const Who& r = cell.reader;
    if (r.block == 0 || (cell.readers != blocks && r.block == now.block && readers_ordered(cell))) {
        cell.reader = now;
        cell.readers = one;
    } else if (r.block != now.block) {
        cell.readers = blocks;
    } else if (cell.readers != blocks && r.thread != now.thread) {
        const bool same_warp = (r.thread - 1) / 32 == (now.thread - 1) / 32;
        cell.readers = std::max(cell.readers, same_warp ? lanes_of_a_warp : warps_of_a_block);
    }
}

void visit(Range& range, std::size_t index, bool write)
{
    Cell& cell = range.cells[index];
    if (cell.writer.block && !(cell.atomic && in_atomic) && !ordered(cell.writer))
        report(range, index, cell.writer, "writes", write ? "writes" : "reads");
    if (!write) {
        add_reader(cell);
        return;
    }
    if (!readers_ordered(cell))
        report(range, index, cell.reader, "reads", "writes");
    cell.writer = now;
    cell.atomic = in_atomic;
    cell.reader.block = 0;
}

Range* range_of(std::uintptr_t at)
{
    if (last_range < ranges.size() && ranges[last_range].begin <= at && at < ranges[last_range].end)
        return &ranges[last_range];
    for (std::size_t i = 0; i < ranges.size(); ++i)
        if (ranges[i].begin <= at && at < ranges[i].end) {
            last_range = i;
            return &ranges[i];
        }
    return nullptr;
}

void access(const void* address, std::size_t size, bool write)
{
    if (!running || !found.empty())
        return;
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    Range* range = range_of(at);
    if (range && at + size <= range->end) {
        for (std::size_t i = (at - range->begin) / range->grain; i <= (at + size - 1 - range->begin) / range->grain; ++i)
            visit(*range, i, write);
        return;
    }
    for (const Range& r : ranges)
        if (r.alone && at + size > r.begin - BESIDE && at < r.end + BESIDE) {
            const auto byte = std::ptrdiff_t(at - r.begin);
            found = named(now) + (write ? " writes" : " reads") + " outside " + r.name + ", at byte " + std::to_string(byte);
            return;
        }
}

void add_range(std::uintptr_t begin, std::uintptr_t end, std::size_t grain, const std::string& name, bool shared, bool alone)
{
    if (begin < end)
        ranges.push_back({begin, end, grain, name, shared, alone, std::vector<Cell>((end - begin + grain - 1) / grain)});
}
} // namespace

// What a launch is given: arrays that do not overlap.
extern "C" void dosecalc_race_watch(
    const std::uintptr_t* begins, const std::uintptr_t* ends, const std::size_t* grains, const char* const* names, int n)
{
    ranges.clear();
    for (int i = 0; i < n; ++i)
        add_range(begins[i], ends[i], grains[i], names[i], false, true);
    found.clear();
}

// A block begins: its shared memory is its own.
extern "C" void dosecalc_race_block(const void* dynamic, std::size_t dynamic_size, const void* fixed, std::size_t fixed_size)
{
    ranges.erase(std::remove_if(ranges.begin(), ranges.end(), [](const Range& r) { return r.shared; }), ranges.end());
    const auto d = reinterpret_cast<std::uintptr_t>(dynamic), f = reinterpret_cast<std::uintptr_t>(fixed);
    add_range(d, d + dynamic_size, 1, "dynamic shared memory", true, true);
    add_range(f, f + fixed_size, 1, "shared memory", true, false);
}

// A thread runs, or goes on after it passed so many barriers.
extern "C" void dosecalc_race_run(std::uint64_t block, unsigned thread, unsigned block_barriers, unsigned warp_barriers)
{
    now = {block + 1, thread + 1, block_barriers, warp_barriers};
    running = true;
}

extern "C" void dosecalc_race_rest() { running = false; }
extern "C" void dosecalc_race_atomic(bool begins) { in_atomic = begins; }
extern "C" const char* dosecalc_race_found() { return found.c_str(); }

// What the compiler calls.
#define ACCESS(size) \
    extern "C" void __tsan_read##size(void* p) { access(p, size, false); } \
    extern "C" void __tsan_write##size(void* p) { access(p, size, true); } \
    extern "C" void __tsan_volatile_read##size(void* p) { access(p, size, false); } \
    extern "C" void __tsan_volatile_write##size(void* p) { access(p, size, true); } \
    extern "C" void __tsan_unaligned_read##size(void* p) { access(p, size, false); } \
    extern "C" void __tsan_unaligned_write##size(void* p) { access(p, size, true); } \
    extern "C" void __tsan_read_write##size(void* p) { access(p, size, false), access(p, size, true); } \
    extern "C" void __tsan_unaligned_read_write##size(void* p) { access(p, size, false), access(p, size, true); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
extern "C" void __tsan_read_range(void* p, std::size_t size) { access(p, size, false); }
extern "C" void __tsan_write_range(void* p, std::size_t size) { access(p, size, true); }
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}
// the compiler's own guards of variables with constructors
extern "C" char __tsan_atomic8_load(const volatile char* p, int) { return *p; }
// clang's names for what it turns copies into
extern "C" void* __tsan_memcpy(void* to, const void* from, std::size_t n)
{
    if (n)
        access(from, n, false), access(to, n, true);
    return __builtin_memcpy(to, from, n);
}
extern "C" void* __tsan_memmove(void* to, const void* from, std::size_t n)
{
    if (n)
        access(from, n, false), access(to, n, true);
    return __builtin_memmove(to, from, n);
}
extern "C" void* __tsan_memset(void* to, int value, std::size_t n)
{
    if (n)
        access(to, n, true);
    return __builtin_memset(to, value, n);
}
