// How fast layers look through an archive, beside plain reading of the same sketches:
//   archive_scan --tokens 131072 --threads 1
//
// A row of each length is one query's attention with everything opened that its model opens, the
// least processor time of some runs, less the same at the start of the archive; and the least in
// which the threads read the bytes of the sketches. With many layers the sketches come from memory,
// as in a model; with one they may stay in a cache.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/noise_archive.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/host_group.h"
#include "kernels/cpu/thread_pool.h"

namespace fmaserver::bench {
namespace {

struct Flags {
  int64_t tokens = 131'072;
  int32_t layers = 30;
  int threads = 1;
  int repeats = 20;
  int32_t heads = 9;
  int32_t kv_heads = 3;
  int32_t head_dim = 64;
  int32_t rows = 1;
  int64_t max_distance = 3072;
};

kernels::AttentionSpec SpecOf(const Flags& flags) {
  kernels::AttentionSpec spec;
  spec.num_heads = flags.heads;
  spec.num_kv_heads = flags.kv_heads;
  spec.head_dim = flags.head_dim;
  spec.hierarchy = {64, 32, 13, 4};
  spec.downsampling = kernels::Downsampling::kSelect;
  spec.far_positions = kernels::FarPositions::kOwn;
  spec.select_lag = 16;
  spec.select_novel = 16;
  spec.max_distance = flags.max_distance;
  spec.open_units = 16;
  return spec;
}

/// The least seconds of all processors together in `repeats` calls.
template <typename Call>
double Least(int repeats, const Call& call) {
  double least = 1e9;
  for (int i = 0; i < repeats; ++i) {
    const std::clock_t start = std::clock();
    call();
    least = std::min(least, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return least;
}

class Bench {
 public:
  explicit Bench(const Flags& flags)
      : flags_(flags),
        spec_(SpecOf(flags)),
        layout_(spec_, flags.layers, kernels::CacheType::kBF16),
        archive_layout_(spec_, flags.layers, kernels::CacheType::kBF16),
        backend_(*kernels::MakeCpuBackend(flags.threads)),
        pool_(flags.threads),
        archive_(*backend_, archive_layout_),
        groups_(*archive_.Reach(flags.tokens)),
        slot_(*backend_->AllocateSlots(layout_, 1)),
        weights_(*backend_->PackAttention(spec_, {})),
        qkv_(*backend_->Allocate(flags.rows * spec_.QkvColumns() * 4)),
        out_(*backend_->Allocate(flags.rows * spec_.QkvColumns() * 4)) {
    const std::vector<std::byte> zeros(static_cast<size_t>(layout_.slot_bytes));
    static_cast<void>(backend_->RestoreSlot(zeros, {slot_.get()}));
  }

  void Print(int64_t tokens) {
    const double scan = Attend(tokens) - Attend(128);
    const int64_t groups = archive_layout_.Groups(tokens);
    const auto bytes = static_cast<double>(groups * archive_layout_.SketchBytes());
    const double read = Read(groups);
    std::printf(
        "%9lld tokens  scan %9.1f us, %6.2f GB/s  read %9.1f us, %6.2f GB/s  share %.2f  "
        "%.1f ns a unit and KV head\n",
        static_cast<long long>(tokens), scan * 1e6, bytes / scan / 1e9, read * 1e6,
        bytes / read / 1e9, read / scan,
        scan * 1e9 / static_cast<double>(groups * 2 * spec_.num_kv_heads * flags_.layers));
  }

 private:
  /// In the middle of a fine group, so that nothing closes.
  double Attend(int64_t tokens) {
    for (int64_t i = 0; i < qkv_->bytes / 4; ++i) {
      reinterpret_cast<float*>(qkv_->data)[i] = static_cast<float>(i * 7919 % 101 - 50) / 50.0F;
    }
    const kernels::Segment segment = {{slot_.get()}, tokens + 1,
                                      flags_.rows,   false,
                                      true,          groups_.first(archive_layout_.Groups(tokens))};
    const kernels::Matrix in = {reinterpret_cast<float*>(qkv_->data), flags_.rows,
                                spec_.QkvColumns()};
    const kernels::Matrix out = {reinterpret_cast<float*>(out_->data), flags_.rows,
                                 int64_t{spec_.num_heads} * spec_.head_dim};
    return Least(flags_.repeats, [&] {
      backend_->BeginStep(spec_, {&segment, 1});
      for (int32_t layer = 0; layer < flags_.layers; ++layer) {
        backend_->Attend(*weights_, layer, in, out);
      }
      static_cast<void>(backend_->EndStep());
    });
  }

  /// Of all sketches, in the order in which a scan reads them.
  double Read(int64_t groups) {
    const int64_t heads = int64_t{flags_.layers} * flags_.kv_heads;
    return Least(flags_.repeats, [&] {
      pool_.ParallelFor(flags_.threads, [&](int64_t part, int) {
        uint64_t sum = 0;
        for (int64_t head = heads * part / flags_.threads;
             head < heads * (part + 1) / flags_.threads; ++head) {
          for (const kernels::ArchiveGroup* group : groups_.first(groups)) {
            const kernels::SketchColumn& column = kernels::SketchesOf(*group);
            sum += Sum(column.Head(head), column.head_bytes);
          }
        }
        sink_ = sink_ + sum;
      });
    });
  }

  /// Of a word of every cache line, so that nothing but memory takes time.
  static uint64_t Sum(const std::byte* from, int64_t bytes) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < bytes; i += 64) {
      uint64_t word;
      std::memcpy(&word, from + i, sizeof(word));
      sum += word;
    }
    return sum;
  }

  const Flags& flags_;
  const kernels::AttentionSpec spec_;
  const kernels::SlotLayout layout_;
  const kernels::ArchiveLayout archive_layout_;
  std::unique_ptr<kernels::Backend> backend_;
  kernels::ThreadPool pool_;
  NoiseArchive archive_;
  const std::span<kernels::ArchiveGroup* const> groups_;
  std::unique_ptr<kernels::SlotMemory> slot_;
  std::unique_ptr<kernels::AttentionWeights> weights_;
  std::unique_ptr<kernels::Buffer> qkv_;
  std::unique_ptr<kernels::Buffer> out_;
  volatile uint64_t sink_ = 0;
};

}  // namespace
}  // namespace fmaserver::bench

int main(int argc, char** argv) {
  fmaserver::bench::Flags flags;
  CLI::App app("Times the scans of an archive.");
  app.option_defaults()->always_capture_default();
  app.add_option("--tokens", flags.tokens, "The longest archive")
      ->check(CLI::Range(int64_t{4096}, int64_t{1} << 24));
  app.add_option("--layers", flags.layers, "Layers, each with an archive of its own")
      ->check(CLI::Range(1, 1000));
  app.add_option("--threads", flags.threads, "Threads")->check(CLI::Range(1, 1024));
  app.add_option("--repeats", flags.repeats, "Runs of each")->check(CLI::PositiveNumber);
  app.add_option("--heads", flags.heads, "Query heads");
  app.add_option("--kv-heads", flags.kv_heads, "KV heads");
  app.add_option("--head-dim", flags.head_dim, "Channels of a head");
  app.add_option("--rows", flags.rows, "Queries, at most 60")->check(CLI::Range(1, 60));
  app.add_option("--max-distance", flags.max_distance, "0, or 256 and more");
  CLI11_PARSE(app, argc, argv);
  fmaserver::bench::Bench bench(flags);
  for (int64_t tokens = 4096; tokens <= flags.tokens; tokens *= 2) bench.Print(tokens);
  return 0;
}
