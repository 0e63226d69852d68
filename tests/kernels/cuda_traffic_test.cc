// What the kernels move between device memory and the chip, compared with what must move at least.
// The emulator counts it; the tables are in docs/performance.md.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/attention/unit_cache.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/fma/element.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/cuda_layer.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

constexpr int64_t kSectorBytes = 32;

/// How many keys a query at `position` sees, including its own.
int64_t VisibleKeys(const kernels::Hierarchy& h, int64_t position) {
  const int64_t fine_group = h.FineGroup(position);
  int64_t keys = position + 1 - std::max<int64_t>(0, fine_group - 1) * h.group_size;
  if (fine_group >= kernels::Hierarchy::kFirstGroupWithSinks) keys += h.sink_tokens;
  for (int level = 1; level <= h.num_levels; ++level) {
    const kernels::GroupRange groups = kernels::Hierarchy::FarGroups(level, fine_group).Existing();
    keys += (groups.end - groups.first) * h.rank;
  }
  return keys;
}

/// What one token of one KV head must move at least: the product's row in and the output out, every
/// key and value that the query sees, the token's own, and the running sums of the level that is
/// summed from tokens, with one tap for each. This holds for a token that completes no group, with
/// hierarchical downsampling. With selected tokens there are no sums, but every key in view
/// receives something, except the nearest.
int64_t FloorBytes(const kernels::AttentionSpec& spec, const kernels::SlotLayout& layout,
                   int64_t position) {
  const int64_t d = spec.head_dim;
  const int64_t vector = 2 * kernels::VectorBytes(layout.type, d);  // a key and a value
  const int64_t heads = spec.QueriesPerKvHead();
  const int64_t row = (heads + 2 + heads) * d * 4;
  const int64_t keys = VisibleKeys(spec.hierarchy, position);
  const int64_t sums = 2 * spec.hierarchy.rank * d * 4;
  const int64_t received = 2 * (keys - spec.select_lag) * 8;
  return row + keys * vector + vector + (spec.Selects() ? received : 3 * sums);
}

/// `size` bytes, a number in every element.
std::vector<std::byte> SomeBytes(int64_t size, std::mt19937& random) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < bytes.size(); i += 4) {
    const float number = static_cast<float>(random() % 1000) / 1000;
    std::memcpy(bytes.data() + i, &number, sizeof(number));
  }
  return bytes;
}

int64_t Moved(const kernels::cuda::emulator::Traffic& traffic) {
  return traffic.loaded_bytes + traffic.stored_bytes;
}
int64_t MovedInSectors(const kernels::cuda::emulator::Traffic& traffic) {
  return (traffic.loaded_sectors + traffic.stored_sectors) * kSectorBytes;
}
double Ratio(int64_t floor, int64_t moved) {
  return static_cast<double>(floor) / static_cast<double>(moved);
}

kernels::AttentionSpec Summarising() {
  kernels::AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 1;
  spec.head_dim = 128;
  spec.hierarchy = {64, 4, 15, 0};
  spec.share_levels = true;
  return spec;
}

kernels::AttentionSpec Selecting() {
  kernels::AttentionSpec spec = Summarising();
  spec.share_levels = false;
  spec.downsampling = kernels::Downsampling::kSelect;
  spec.far_positions = kernels::FarPositions::kOwn;
  spec.select_lag = 16;
  spec.select_novel = 2;
  return spec;
}

TEST(CudaTrafficTest, NineTenthsOfWhatDecodeMovesMustMove) {
  std::printf(
      "| | cache | heads | position | keys | floor | moved | floor / moved | in sectors |\n");
  std::mt19937 random(1);
  for (const bool selects : {false, true}) {
    for (const auto& [type, heads] :
         std::vector<std::pair<kernels::CacheType, int>>{{kernels::CacheType::kBF16, 1},
                                                         {kernels::CacheType::kBF16, 4},
                                                         {kernels::CacheType::kInt8, 1},
                                                         {kernels::CacheType::kInt8, 4},
                                                         {kernels::CacheType::kF32, 1},
                                                         {kernels::CacheType::kF32, 4}}) {
      kernels::AttentionSpec spec = selects ? Selecting() : Summarising();
      spec.num_heads = heads;
      CudaLayer device(RandomAttention(spec, random), type);
      const auto slot = device.NewSlot();
      device.Fill(slot.data(), SomeBytes(device.layout().slot_bytes, random));
      for (const int64_t position : {1'000, 131'070, 1'000'030}) {
        const auto qkv = RandomFloats(spec.QkvColumns(), 1.0F, random);
        kernels::cuda::emulator::TrafficByKernel().clear();
        device.Step({{slot.data(), position, 1, qkv}});
        const auto traffic = kernels::cuda::emulator::TrafficByKernel()["decode_attention"];
        const int64_t moved = Moved(traffic);
        const int64_t floor = FloorBytes(spec, device.layout(), position);
        const double ratio = Ratio(floor, MovedInSectors(traffic));
        std::printf("| %s | %s | %d | %ld | %ld | %ld | %ld | %.3f | %.3f |\n",
                    selects ? "select" : "hierarchical", kernels::NameOf(type).data(), heads,
                    static_cast<long>(position),
                    static_cast<long>(VisibleKeys(spec.hierarchy, position)),
                    static_cast<long>(floor), static_cast<long>(moved), Ratio(floor, moved), ratio);
        EXPECT_GE(ratio, 0.9);
      }
    }
  }
}

/// Prints one line of the table: the counts of `kernel` since the last line.
void Report(const char* kernel, const char* what, int64_t floor) {
  const kernels::cuda::emulator::Traffic traffic =
      kernels::cuda::emulator::TrafficByKernel()[kernel];
  std::printf("| %s | %s | %ld | %ld | %.3f | %.3f |\n", kernel, what, static_cast<long>(floor),
              static_cast<long>(Moved(traffic)), Ratio(floor, Moved(traffic)),
              Ratio(floor, MovedInSectors(traffic)));
  EXPECT_LE(floor, Moved(traffic)) << kernel << ": less than must move";
  EXPECT_GE(Ratio(floor, MovedInSectors(traffic)), 0.2) << kernel;  // counted for each block
  kernels::cuda::emulator::TrafficByKernel().erase(kernel);
}

constexpr int64_t kF = sizeof(float);

std::unique_ptr<kernels::LinearWeights> Bf16Weights(kernels::Backend& backend, int64_t out,
                                                    int64_t in) {
  const std::vector<uint16_t> elements(out * in, 0x3C00);
  const kernels::HostLinear host{
      {reinterpret_cast<const std::byte*>(elements.data()), kernels::WeightFormat::kBF16, out, in},
      {}};
  return *backend.PackLinear({&host, 1});
}

/// What a product must move at least: its weights, inputs and outputs, each once.
int64_t ProductFloor(int64_t rows, int64_t in, int64_t out) {
  return 2 * in * out + kF * rows * (in + out);
}

TEST(CudaTrafficTest, DenseKernelsBesideTheirFloors) {
  std::printf("| kernel | of | floor | moved | floor / moved | in sectors |\n");
  constexpr int64_t kDim = 512;
  constexpr int64_t kWide = 1024;
  constexpr int64_t kVocab = 4096;
  const auto backend = *kernels::cuda::MakeCudaBackend(0);
  const auto table = Bf16Weights(*backend, kVocab, kDim);
  const auto up = Bf16Weights(*backend, 2 * kWide, kDim);
  const std::vector<float> ones(kVocab, 1.0F);
  const kernels::HostMatrix scale{reinterpret_cast<const std::byte*>(ones.data()),
                                  kernels::WeightFormat::kF32, 1, kDim};
  const auto norm = *backend->PackNorm({kernels::NormKind::kRmsNorm, 1e-5F, scale, {}});
  for (const int64_t rows : {1, 8}) {
    const std::string of = std::to_string(rows) + (rows == 1 ? " row" : " rows");
    const auto report = [&](const char* kernel, const std::string& what, int64_t floor) {
      Report(kernel, (of + ", " + what).c_str(), floor);
    };
    const DeviceMatrix x(*backend, rows, kDim);
    const DeviceMatrix normed(*backend, rows, kDim);
    const DeviceMatrix wide(*backend, rows, 2 * kWide);
    const DeviceMatrix activated(*backend, rows, kWide);
    const std::vector<int64_t> ids(rows, 7);
    kernels::cuda::emulator::TrafficByKernel().clear();
    backend->Embed(ids, *table, /*accumulate=*/false, x);
    (void)x.Read();
    report("embed", "512 wide, BF16", rows * (8 + 2 * kDim + kF * kDim));
    backend->Norm(x, *norm, normed);
    (void)normed.Read();
    report("norm", "512 wide", kF * kDim * (2 * rows + 1));
    backend->Linear(normed, *up, /*accumulate=*/false, wide);
    (void)wide.Read();
    report("linear", "512 to 2,048, BF16", ProductFloor(rows, kDim, 2 * kWide));
    backend->Activate(kernels::MlpKind::kSwiglu, wide, activated);
    (void)activated.Read();
    report("activate", "swiglu of 2 x 1,024", kF * rows * 3 * kWide);
    const std::vector<int32_t> chosen(rows, 0);
    const DeviceMatrix gathered(*backend, rows, kDim);
    backend->GatherRows(x, chosen, gathered);
    (void)gathered.Read();
    report("gather_rows", "512 wide", rows * (4 + 2 * kF * kDim));
    std::vector<float> random_logits(rows * kVocab);
    std::mt19937 random(1);
    for (float& logit : random_logits) logit = static_cast<float>(random() % 1000) / 100;
    const DeviceMatrix logits(*backend, rows, random_logits);
    std::vector<kernels::RowSampling> how(rows);
    for (kernels::RowSampling& row : how) row.top_k = 40;
    std::vector<kernels::SampledRow> sampled(rows);
    ASSERT_TRUE(backend->sampler()->Sample(logits, how, sampled).ok());
    report("sample", "4,096 logits, top_k 40", rows * (kF * kVocab + 8));
  }
}

struct IntegerKind {
  const char* name;
  kernels::WeightFormat format;
  bool has_minima;
  double bytes;  ///< of a weight
};

std::unique_ptr<kernels::LinearWeights> IntegerWeights(kernels::Backend& backend, int64_t out,
                                                       int64_t in, const IntegerKind& kind) {
  const std::vector<std::byte> codes(out * kernels::RowBytes(kind.format, in), std::byte{0x57});
  const std::vector<uint16_t> halves(out * in / kernels::kWeightBlock, 0x2C00);
  const kernels::HostMatrix of_blocks{reinterpret_cast<const std::byte*>(halves.data()),
                                      kernels::WeightFormat::kF16, out, in / kernels::kWeightBlock};
  const kernels::HostLinear host{
      {codes.data(), kind.format, out, in, &of_blocks, kind.has_minima ? &of_blocks : nullptr}, {}};
  return *backend.PackLinear({&host, 1});
}

/// Of weights that are integers in blocks: products for few and for many rows, and the rounding of
/// the inputs, which become a byte each and eight bytes for each block. For up to 8 rows the
/// product does it itself.
TEST(CudaTrafficTest, ProductsWithIntegersBesideTheirFloors) {
  std::printf("| kernel | of | floor | moved | floor / moved | in sectors |\n");
  constexpr int64_t kDim = 512;
  constexpr int64_t kWide = 1024;
  constexpr int64_t kRounded = kDim + kDim / kernels::kWeightBlock * 8;  // bytes of a row
  const auto backend = *kernels::cuda::MakeCudaBackend(0);
  for (const IntegerKind& kind :
       {IntegerKind{"int8", kernels::WeightFormat::kInt8, false, 1.0625},
        IntegerKind{"int4", kernels::WeightFormat::kInt4, false, 0.5625},
        IntegerKind{"int4 with minima", kernels::WeightFormat::kInt4, true, 0.625}}) {
    const auto weights = IntegerWeights(*backend, kWide, kDim, kind);
    const auto weight_bytes = static_cast<int64_t>(kind.bytes * kDim * kWide);
    for (const int64_t rows : {1, 8, 16, 64}) {
      const DeviceMatrix x(*backend, rows, kDim);
      const DeviceMatrix y(*backend, rows, kWide);
      kernels::cuda::emulator::TrafficByKernel().clear();
      backend->Linear(x, *weights, /*accumulate=*/false, y);
      (void)y.Read();
      const std::string of = std::to_string(rows) + (rows == 1 ? " row" : " rows");
      const bool rounds_itself = rows <= 8;
      if (!rounds_itself) {
        Report("round_inputs", (of + ", 512 wide").c_str(), rows * (kF * kDim + kRounded));
      }
      Report(rows > 32 ? "integer_product" : "integer_linear",
             (of + ", 512 to 1,024, " + kind.name).c_str(),
             weight_bytes + rows * ((rounds_itself ? kF * kDim : kRounded) + kF * kWide));
    }
  }
}

/// Runs a slice of a prompt, so that its kernels are the only ones that were counted.
void CountSlice(const kernels::AttentionSpec& spec, kernels::CacheType type, int64_t position,
                int32_t rows, std::mt19937& random) {
  CudaLayer device(RandomAttention(spec, random), type);
  const auto slot = device.NewSlot();
  device.Fill(slot.data(), SomeBytes(device.layout().slot_bytes, random));
  const auto qkv = RandomFloats(rows * spec.QkvColumns(), 1.0F, random);
  kernels::cuda::emulator::TrafficByKernel().clear();
  device.Step({{slot.data(), position, rows, qkv}});
}

/// A slice of a prompt whose blocks of queries are whole fine groups, in the middle of a sequence.
TEST(CudaTrafficTest, PrefillKernelsBesideTheirFloors) {
  std::printf("| kernel | of | floor | moved | floor / moved | in sectors |\n");
  std::mt19937 random(1);
  const kernels::AttentionSpec spec = Summarising();
  constexpr int32_t kRows = 256;
  constexpr int64_t kPosition = 64 * 2040;
  for (const kernels::CacheType type : {kernels::CacheType::kBF16, kernels::CacheType::kF32}) {
    CountSlice(spec, type, kPosition, kRows, random);
    const int64_t d = spec.head_dim;
    const int64_t element = kernels::SizeOf(type);
    const std::string of = "256 rows, d 128, " + std::string(kernels::NameOf(type));
    // Queries in, outputs out; keys and values once for each fine group of queries.
    int64_t attention = kRows * 2 * d * kF;
    for (int64_t row = 63; row < kRows; row += 64) {
      attention += VisibleKeys(spec.hierarchy, kPosition + row) * 2 * d * element;
    }
    Report(type == kernels::CacheType::kBF16 ? "tensor_attention" : "block_attention", of.c_str(),
           attention);
    Report("place_tokens", of.c_str(), kRows * 2 * d * (kF + element));
    const int64_t groups = kRows / 64;
    const int64_t summaries = 2 * spec.hierarchy.rank * d * kF;  // of a group, keys and values
    // Tokens in, all taps and biases, sums out.
    Report("sum_tokens", of.c_str(), kRows * 2 * d * kF + 65 * summaries + groups * summaries);
    // What the slot keeps: the last 2m tokens, three groups of level 1, those of higher levels.
    Report("prefill_commit", of.c_str(), 2 * 128 * 2 * d * element);
  }
}

/// The same with selected tokens.
TEST(CudaTrafficTest, SlicesOfSelectedTokensBesideTheirFloors) {
  std::printf("| kernel | of | floor | moved | floor / moved | in sectors |\n");
  std::mt19937 random(1);
  const kernels::AttentionSpec spec = Selecting();
  constexpr int32_t kRows = 256;
  constexpr int64_t kGroup = 64;
  constexpr int64_t kPosition = kGroup * 2040;
  for (const kernels::CacheType type : {kernels::CacheType::kBF16, kernels::CacheType::kF32}) {
    CountSlice(spec, type, kPosition, kRows, random);
    const int64_t d = spec.head_dim;
    const int64_t element = kernels::SizeOf(type);
    const std::string of = "256 rows, d 128, " + std::string(kernels::NameOf(type));
    // The keys of the group that is chosen from, and the matrix of novelty, in and out: the upper
    // half of its left side, and its right side.
    const int64_t matrix = (d * (d + 1) / 2 + d * kGroup) * 8;
    Report("choose_groups", of.c_str(), kRows / kGroup * (kGroup * d * element + 2 * matrix));
    Report("append_rows", of.c_str(), kRows * (2 * d * (kF + element) + 8));
    // A query in, an output out, every key and value in view, and what each is given.
    int64_t attention = kRows * 2 * d * kF;
    int64_t given = 0;
    int64_t received = 0;
    for (int64_t row = 0; row < kRows; ++row) {
      const int64_t keys = VisibleKeys(spec.hierarchy, kPosition + row);
      attention += keys * 2 * d * element;
      given += keys * kF;
      if (row % kGroup == kGroup - 1) received += 2 * (keys - spec.select_lag) * 8;
    }
    Report("decode_attention", of.c_str(), attention + given);
    Report("receive", of.c_str(), given - kRows * spec.select_lag * kF + received);
  }
}

/// Runs one token of a sequence whose archive holds small numbers, so that its kernels are the only
/// ones that were counted.
void CountOpening(const kernels::AttentionSpec& spec, kernels::CacheType type, int64_t position,
                  std::mt19937& random) {
  CudaLayer device(RandomAttention(spec, random), type);
  const auto slot = device.NewSlot();
  device.Fill(slot.data(), SomeBytes(device.layout().slot_bytes, random));
  const kernels::ArchiveLayout layout(spec, 1, type);
  CudaArchive archive(layout);
  const auto groups = std::ssize(archive.Reach(position + 1));
  for (int64_t group = 0; group < groups; ++group) {
    device.Fill(archive.Sketches(group), SomeBytes(layout.SketchBytes(), random));
    std::ranges::copy(SomeBytes(layout.TokenBytes(), random), archive.Tokens(group).begin());
  }
  const auto qkv = RandomFloats(spec.QkvColumns(), 1.0F, random);
  kernels::cuda::emulator::TrafficByKernel().clear();
  device.Step({{slot.data(), position, 1, qkv, &archive}});
}

/// A token at the end of a fine group, which also archives a group.
TEST(CudaTrafficTest, OpenedUnitsBesideTheirFloors) {
  std::printf("| kernel | of | floor | moved | floor / moved | in sectors |\n");
  std::mt19937 random(1);
  kernels::AttentionSpec spec = Selecting();
  spec.num_heads = 4;
  spec.open_units = 16;
  constexpr int64_t kPosition = 64 * 256 - 1;
  const int64_t units = 2 * 254;  // of 32 tokens
  for (const kernels::CacheType type : {kernels::CacheType::kBF16, kernels::CacheType::kF32}) {
    CountOpening(spec, type, kPosition, random);
    const kernels::ArchiveLayout layout(spec, 1, type);
    const int64_t d = spec.head_dim;
    const int64_t element = kernels::SizeOf(type);
    const std::string of = "16 of 508 units, 4 heads, d 128, " + std::string(kernels::NameOf(type));
    auto& traffic = kernels::cuda::emulator::TrafficByKernel();
    const int64_t read = traffic["attend_units"].bus_bytes;
    const int64_t written = traffic["archive_units"].bus_bytes;
    std::printf("over the bus: %ld read, %ld written\n", static_cast<long>(read),
                static_cast<long>(written));
    EXPECT_EQ(read, spec.open_units * layout.UnitTokenBytes());
    EXPECT_EQ(written, layout.HeadTokenBytes());
    // The queries once, every sketch once, a score out.
    const int64_t sketches = units * layout.Sketch().bytes;
    Report("scan_sketches", of.c_str(), spec.num_heads * d * kF + sketches + units * kF);
    Report("choose_units", of.c_str(), units * kF + spec.open_units * kF);
    // The queries once; of every unit scores of tokens, two numbers and an output for each head.
    const int64_t given = spec.num_heads * (spec.open_size + 2 + d) * kF;
    Report("attend_units", of.c_str(), spec.num_heads * d * kF + spec.open_units * given);
    Report("archive_units", of.c_str(), 64 * 2 * d * element + 2 * layout.Sketch().bytes);
  }
}

/// The next token, which opens the same units, reads none of them over the bus.
TEST(CudaTrafficTest, UnitsThatWereOpenedLatelyCrossTheBusOnce) {
  std::mt19937 random(1);
  kernels::AttentionSpec spec = Selecting();
  spec.num_heads = 4;
  spec.open_units = 16;
  constexpr int64_t kPosition = 64 * 256;
  std::printf("| kernel | of | floor | moved | floor / moved | in sectors |\n");
  for (const kernels::CacheType type : {kernels::CacheType::kBF16, kernels::CacheType::kInt8}) {
    CudaLayer device(RandomAttention(spec, random), type);
    const auto slot = device.NewSlot();
    device.Fill(slot.data(), SomeBytes(device.layout().slot_bytes, random));
    const kernels::ArchiveLayout layout(spec, 1, type);
    constexpr int64_t kSets = 6;
    device.CacheUnits(kSets * kernels::cuda::DeviceUnitCache::kWays * layout.UnitTokenBytes());
    CudaArchive archive(layout);
    const auto groups = std::ssize(archive.Reach(kPosition + 2));
    for (int64_t group = 0; group < groups; ++group) {
      device.Fill(archive.Sketches(group), SomeBytes(layout.SketchBytes(), random));
      std::ranges::copy(SomeBytes(layout.TokenBytes(), random), archive.Tokens(group).begin());
    }
    const auto qkv = RandomFloats(spec.QkvColumns(), 1.0F, random);
    auto& traffic = kernels::cuda::emulator::TrafficByKernel();
    std::vector<int64_t> over_bus;
    for (int64_t i = 0; i < 2; ++i) {
      traffic.clear();
      device.Step({{slot.data(), kPosition + i, 1, qkv, &archive}});
      over_bus.push_back(traffic["attend_units"].bus_bytes);
    }
    EXPECT_EQ(over_bus[0], spec.open_units * layout.UnitTokenBytes());
    // The same query at the next position: rotation may turn one choice or two.
    EXPECT_LE(over_bus[1], 2 * layout.UnitTokenBytes());
    const std::string of =
        "16 of 508 units, all copied, 4 heads, d 128, " + std::string(kernels::NameOf(type));
    // The keys of every set; of every unit its number, its group's, the time of its use, its place.
    constexpr int64_t kKeys = kSets * kernels::cuda::DeviceUnitCache::kWays * 8;
    Report("place_units", of.c_str(), kKeys + spec.open_units * (4 + 8 + 8 + 4));
  }
}

}  // namespace
}  // namespace fmaserver::testing
