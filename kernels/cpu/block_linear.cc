#include "kernels/cpu/block_linear.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tiles.h"
#include "kernels/host/host_element.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/block_linear.cc"
#include "hwy/foreach_target.h"  // must come first

#include "hwy/highway.h"
#include "kernels/cpu/block_dot-inl.h"
#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

constexpr int64_t kStrip = WeightStrip::kStrip;
constexpr int64_t kGroups = kWeightBlock / 4;  // of four inputs
constexpr int64_t kLanes = hn::MaxLanes(FloatTag());

/// Codes of x times `inverse`, and their sum.
int32_t RoundBlock(const float* HWY_RESTRICT x, float inverse, int8_t* HWY_RESTRICT codes) {
  const FloatTag d;
  const hn::Rebind<int8_t, FloatTag> bytes;
  IntVec sum = hn::Zero(IntTag());
  for (int64_t i = 0; i < kWeightBlock; i += kLanes) {
    const IntVec rounded = hn::NearestInt(hn::LoadU(d, x + i) * hn::Set(d, inverse));
    hn::StoreU(hn::DemoteTo(bytes, rounded), bytes, codes + i);
    sum = sum + rounded;
  }
  return hn::GetLane(hn::SumOfLanes(IntTag(), sum));
}

void RoundInputBlock(const float* HWY_RESTRICT x, InputBlock& block) {
  constexpr float kLeast = 0x1p-100F;
  constexpr float kMostCode = 127;
  const FloatTag d;
  FloatVec most = hn::Zero(d);
  FloatVec zeros = hn::Zero(d);  // NaN where a number is not finite
  for (int64_t i = 0; i < kWeightBlock; i += kLanes) {
    const FloatVec numbers = hn::LoadU(d, x + i);
    most = hn::Max(most, hn::Abs(numbers));
    zeros = zeros + numbers * hn::Zero(d);
  }
  const float magnitude = hn::GetLane(hn::MaxOfLanes(d, most));
  const bool finite = hn::GetLane(hn::SumOfLanes(d, zeros)) == 0;
  block = {};
  if (!finite) block.scale = std::numeric_limits<float>::quiet_NaN();
  if (!finite || magnitude < kLeast) return;
  block.scale = magnitude / kMostCode;
  block.sum = RoundBlock(x, kMostCode / magnitude, block.codes);
  block.scaled_sum = block.scale * static_cast<float>(block.sum);
}

void RoundInputRow(const float* x, int64_t in, InputBlock* blocks) {
  for (; in >= kWeightBlock; in -= kWeightBlock, x += kWeightBlock) RoundInputBlock(x, *blocks++);
  if (in == 0) return;
  float last[kWeightBlock] = {};
  std::copy_n(x, in, last);
  RoundInputBlock(last, *blocks);
}

/// The rows that are multiplied together, each at its block.
template <int kRows>
using InputRows = std::array<const InputBlock*, kRows>;

template <class Arithmetic, int kRows, int kVecs>
HWY_INLINE void DotBytes(const uint8_t* codes, const InputRows<kRows>& x,
                         IntVec (&dots)[kRows][kVecs]) {
  for (int r = 0; r < kRows; ++r) {
    const IntVec start = hn::Set(IntTag(), -Arithmetic::kBytesAreOver * x[r]->sum);
    for (int v = 0; v < kVecs; ++v) dots[r][v] = start;
  }
  for (int64_t group = 0; group < kGroups; ++group, codes += 4 * kStrip) {
    IntVec weights[kVecs];
    for (int v = 0; v < kVecs; ++v) weights[v] = FourWeights(codes + v * 4 * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const IntVec inputs = FourInputs(x[r]->codes + 4 * group);
      for (int v = 0; v < kVecs; ++v) {
        dots[r][v] = Arithmetic::AddBytes(dots[r][v], weights[v], inputs);
      }
    }
  }
}

/// `over`: by how much codes are above what they stand for.
template <class Arithmetic, int kRows, int kVecs>
HWY_INLINE void DotNibbles(const uint8_t* codes, int32_t over, const InputRows<kRows>& x,
                           IntVec (&dots)[kRows][kVecs]) {
  typename Arithmetic::NibbleSum sums[kRows][kVecs];
  // Made again at the end, so that no register is taken by what an arithmetic needs at one end
  // only.
  const auto start = [&](int r) HWY_ATTR { return hn::Set(IntTag(), -over * x[r]->sum); };
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) sums[r][v] = Arithmetic::StartNibbles(start(r));
  }
  for (int64_t group = 0; group < kGroups / 2; ++group, codes += 4 * kStrip) {
    IntVec lower[kVecs];
    IntVec upper[kVecs];
    for (int v = 0; v < kVecs; ++v) {
      const IntVec both = FourWeights(codes + v * 4 * kLanes);
      lower[v] = LowerNibbles(both);
      upper[v] = UpperNibbles(both);
    }
    for (int r = 0; r < kRows; ++r) {
      const IntVec first = FourInputs(x[r]->codes + 4 * group);
      const IntVec second = FourInputs(x[r]->codes + kWeightBlock / 2 + 4 * group);
      for (int v = 0; v < kVecs; ++v) {
        sums[r][v] = Arithmetic::AddNibbles(sums[r][v], lower[v], first);
        sums[r][v] = Arithmetic::AddNibbles(sums[r][v], upper[v], second);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) {
      dots[r][v] = Arithmetic::EndNibbles(sums[r][v], start(r));
    }
  }
}

HWY_INLINE FloatVec LoadHalves(const std::byte* halves, int64_t index) {
  return LoadFloats(reinterpret_cast<const Float16*>(halves) + index);
}

/// kRows rows of x times kVecs vectors of outputs of a strip, from `column` on.
template <class Arithmetic, WeightFormat kFormat, bool kMinima, int kRows, int kVecs>
HWY_INLINE void Tile(const WeightStrip& strip, int64_t column, int64_t blocks, InputRows<kRows> x,
                     FloatVec (&sum)[kRows][kVecs]) {
  const FloatTag d;
  constexpr int32_t kNibblesAreOver = kMinima ? 0 : 8;
  const int64_t block_bytes = strip.BlockBytes();
  const int64_t codes_offset = strip.CodesOffset() + 4 * column;
  for (auto& row : sum) {
    for (FloatVec& vec : row) vec = hn::Zero(d);
  }
  const std::byte* HWY_RESTRICT block = strip.data;
  for (int64_t b = 0; b < blocks; ++b, block += block_bytes) {
    const auto* codes = reinterpret_cast<const uint8_t*>(block + codes_offset);
    IntVec dots[kRows][kVecs];
    if constexpr (kFormat == WeightFormat::kInt8) {
      DotBytes<Arithmetic, kRows, kVecs>(codes, x, dots);
    } else {
      DotNibbles<Arithmetic, kRows, kVecs>(codes, kNibblesAreOver, x, dots);
    }
    for (int v = 0; v < kVecs; ++v) {
      const FloatVec scales = LoadHalves(block, column + v * kLanes);
      for (int r = 0; r < kRows; ++r) {
        sum[r][v] =
            hn::MulAdd(hn::ConvertTo(d, dots[r][v]), scales * hn::Set(d, x[r]->scale), sum[r][v]);
      }
      if constexpr (kMinima) {
        const FloatVec minima = LoadHalves(block, kStrip + column + v * kLanes);
        for (int r = 0; r < kRows; ++r) {
          sum[r][v] = hn::MulAdd(minima, hn::Set(d, x[r]->scaled_sum), sum[r][v]);
        }
      }
    }
    for (const InputBlock*& row : x) ++row;
  }
}

/// What rows of x become: y = x W^T + b, or y += that.
struct Output {
  Matrix y;
  int64_t first_row = 0;
  const float* bias = nullptr;  // of the strip; null: none
  bool accumulate = false;
};

HWY_INLINE void StoreOutputs(FloatVec sum, int64_t column, int64_t outs, const Output& output,
                             float* HWY_RESTRICT y) {
  const FloatTag d;
  if (column + kLanes <= outs) {
    if (output.bias != nullptr) sum = sum + hn::LoadU(d, output.bias + column);
    if (output.accumulate) sum = sum + hn::LoadU(d, y + column);
    hn::StoreU(sum, d, y + column);
    return;
  }
  HWY_ALIGN float tail[16];
  hn::Store(sum, d, tail);
  for (int64_t c = 0; column + c < outs; ++c) {
    if (output.bias != nullptr) tail[c] += output.bias[column + c];
    y[column + c] = output.accumulate ? tail[c] + y[column + c] : tail[c];
  }
}

/// Vectors of outputs that are multiplied together: a whole strip, so that its bytes are read in a
/// row, unless lanes are very few.
constexpr int kVecs = static_cast<int>(std::min<int64_t>(kStrip / kLanes, 4));

template <class Arithmetic, WeightFormat kFormat, bool kMinima, int kRows>
HWY_INLINE void StripRows(const WeightStrip& strip, const BlockInput& input, int64_t row,
                          const Output& output) {
  InputRows<kRows> x;
  for (int r = 0; r < kRows; ++r) x[r] = input.Row(row + r);
  for (int64_t column = 0; column < strip.outs; column += kVecs * kLanes) {
    FloatVec sum[kRows][kVecs];
    Tile<Arithmetic, kFormat, kMinima, kRows, kVecs>(strip, column, input.row_blocks(), x, sum);
    for (int r = 0; r < kRows; ++r) {
      float* y = output.y.Row(row + r) + strip.first_out;
      for (int v = 0; v < kVecs; ++v) {
        const int64_t first = column + v * kLanes;
        if (first < strip.outs) StoreOutputs(sum[r][v], first, strip.outs, output, y);
      }
    }
  }
}

template <class Arithmetic, WeightFormat kFormat, bool kMinima>
void StripAllRows(const WeightStrip& strip, const BlockInput& input, const Output& output) {
  const int64_t rows = output.y.rows;
  int64_t row = output.first_row;
  const auto take = [&]<int kRows>(std::integral_constant<int, kRows>) HWY_ATTR {
    for (; row + kRows <= rows; row += kRows) {
      StripRows<Arithmetic, kFormat, kMinima, kRows>(strip, input, row, output);
    }
  };
  // As many sums as registers allow.
  if constexpr (kVecs == 2) take(std::integral_constant<int, 4>());
  take(std::integral_constant<int, 2>());
  take(std::integral_constant<int, 1>());
}

template <class Arithmetic>
void MultiplyStrip(const WeightStrip& strip, const BlockInput& input, const Output& output) {
  if (strip.format == WeightFormat::kInt8) {
    return StripAllRows<Arithmetic, WeightFormat::kInt8, false>(strip, input, output);
  }
  if (strip.has_minima) {
    return StripAllRows<Arithmetic, WeightFormat::kInt4, true>(strip, input, output);
  }
  return StripAllRows<Arithmetic, WeightFormat::kInt4, false>(strip, input, output);
}

/// The rows of y from `first_row` on.
void LinearStrip(const WeightStrip& strip, const BlockInput& input, int64_t first_row,
                 const float* bias, bool accumulate, const Matrix& y) {
  const Output output{y, first_row, bias, accumulate};
#if HWY_TARGET == HWY_AVX3
  if (input.extensions().avx512_vnni) return MultiplyStrip<VnniArithmetic>(strip, input, output);
#elif HWY_TARGET == HWY_AVX2
  if (input.extensions().avx_vnni) return MultiplyStrip<VnniArithmetic>(strip, input, output);
#endif
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  return MultiplyStrip<PairArithmetic>(strip, input, output);
#else
  return MultiplyStrip<PlainArithmetic>(strip, input, output);
#endif
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fmaserver::kernels::cpu {
namespace {

HWY_EXPORT(RoundInputRow);
HWY_EXPORT(LinearStrip);

constexpr int64_t kStrip = WeightStrip::kStrip;
constexpr int64_t kGroups = kWeightBlock / 4;  // of four inputs

int64_t CodeIndex(int64_t out, int64_t i) { return (i / 4 * kStrip + out) * 4 + i % 4; }

void PutBlock(const WeightBlock& block, const WeightStrip& strip, int64_t out, std::byte* to) {
  auto* halves = reinterpret_cast<Float16*>(to);
  halves[out] = block.scale;
  if (strip.has_minima) halves[kStrip + out] = block.minimum;
  std::array<uint32_t, kGroups> fours;
  std::memcpy(fours.data(), block.codes.data(), sizeof(fours));
  const bool is_int8 = strip.format == WeightFormat::kInt8;
  const int64_t groups = is_int8 ? kGroups : kGroups / 2;
  std::byte* codes = to + strip.CodesOffset() + CodeIndex(out, 0);
  for (int64_t group = 0; group < groups; ++group, codes += 4 * kStrip) {
    // Codes of kInt4 are below 16, so none is shifted into its neighbour.
    const uint32_t four =
        is_int8 ? fours[group] ^ 0x80808080U : fours[group] | fours[groups + group] << 4;
    std::memcpy(codes, &four, sizeof(four));
  }
}

/// The code of input `i` of a block.
int8_t CodeAt(const WeightStrip& strip, int64_t out, int64_t i, const std::byte* codes) {
  if (strip.format == WeightFormat::kInt8) {
    return static_cast<int8_t>(std::to_integer<int>(codes[CodeIndex(out, i)]) - 128);
  }
  const std::byte both = codes[CodeIndex(out, i % (kWeightBlock / 2))];
  return std::to_integer<int8_t>(i < kWeightBlock / 2 ? both & std::byte{0xF} : both >> 4);
}

/// Fills a strip with rows of `weight` from `row` on.
absl::Status PackStrip(const HostMatrix& weight, int64_t row, const WeightStrip& strip) {
  std::vector<WeightBlock> blocks(BlocksOfRow(weight.cols));
  if (strip.outs < kStrip) {
    std::memset(strip.data, 0, blocks.size() * static_cast<size_t>(strip.BlockBytes()));
  }
  for (int64_t out = 0; out < strip.outs; ++out) {
    const BlockKind kind = {strip.format, strip.has_minima};
    absl::Status status = BlocksOf(weight, row + out, kind, blocks);
    if (!status.ok()) return status;
    std::byte* to = strip.data;
    for (const WeightBlock& block : blocks) {
      PutBlock(block, strip, out, to);
      to += strip.BlockBytes();
    }
  }
  return absl::OkStatus();
}

}  // namespace

void BlockInput::Round(ThreadPool& pool, Matrix x) {
  row_blocks_ = BlocksOfRow(x.cols);
  if (x.rows * row_blocks_ > size_) {
    size_ = x.rows * row_blocks_;
    blocks_ = AllocateAligned<InputBlock>(size_);
  }
  pool.ParallelFor(x.rows, [&](int64_t row, int) {
    HWY_DYNAMIC_DISPATCH(RoundInputRow)(x.Row(row), x.cols, blocks_.get() + row * row_blocks_);
  });
  if (RowsOnTiles(x.rows) > 0 && pool.threads() * StripBytes() > codes_size_) {
    codes_size_ = pool.threads() * StripBytes();
    codes_ = AllocateAligned<int8_t>(codes_size_);
  }
}

int64_t BlockInput::StripBytes() const { return row_blocks_ * kStrip * kWeightBlock; }

int64_t BlockInput::RowsOnTiles(int64_t rows) const {
  return extensions_.multiply_strip == nullptr ? 0 : rows / kTileRows * kTileRows;
}

void BlockLinear::AddStrips(const HostLinear& part, std::optional<WeightFormat> format,
                            int64_t first_out) {
  const HostMatrix& weight = part.weight;
  const BlockKind kind = KindOf(weight, format);
  WeightStrip strip{.format = kind.format, .has_minima = kind.has_minima};
  for (int64_t row = 0; row < weight.rows; row += kStrip) {
    strip.first_out = first_out + row;
    strip.outs = std::min(kStrip, weight.rows - row);
    strips_.push_back(strip);
  }
}

absl::Status BlockLinear::Allocate() {
  int64_t bytes = 0;
  for (const WeightStrip& strip : strips_) bytes += BlocksOfRow(in) * strip.BlockBytes();
  auto data = AllocateWeights(bytes);
  if (!data.ok()) return data.status();
  data_ = *std::move(data);
  std::byte* next = data_.get();
  for (WeightStrip& strip : strips_) {
    strip.data = next;
    next += BlocksOfRow(in) * strip.BlockBytes();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<BlockLinear>> BlockLinear::Pack(std::span<const HostLinear> stacked,
                                                               std::optional<WeightFormat> format,
                                                               std::shared_ptr<BlockInput> input,
                                                               ForEach for_each) {
  auto packed = std::make_unique<BlockLinear>();
  if (absl::Status status = packed->TakeShapeAndBias(stacked); !status.ok()) return status;
  packed->input_ = std::move(input);
  std::vector<std::pair<const HostMatrix*, int64_t>> rows;  // the first of each strip
  int64_t first_out = 0;
  for (const HostLinear& part : stacked) {
    packed->AddStrips(part, format, first_out);
    first_out += part.weight.rows;
    for (int64_t row = 0; row < part.weight.rows; row += kStrip) {
      rows.emplace_back(&part.weight, row);
    }
  }
  if (absl::Status status = packed->Allocate(); !status.ok()) return status;
  std::mutex mutex;
  absl::Status status;
  for_each(std::ssize(rows), [&](int64_t i) {
    const absl::Status one = PackStrip(*rows[i].first, rows[i].second, packed->strips_[i]);
    if (one.ok()) return;
    const std::lock_guard lock(mutex);
    status.Update(one);
  });
  if (!status.ok()) return status;
  return packed;
}

void BlockLinear::Multiply(ThreadPool& pool, Matrix x, bool accumulate, Matrix y) const {
  input_->Round(pool, x);
  // How many runs of strips a thread gets.
  constexpr int64_t kRunsOfAThread = 4;
  const int64_t strips = std::ssize(strips_);
  const int64_t runs = pool.threads() == 1 ? 1 : std::min(strips, kRunsOfAThread * pool.threads());
  const int64_t on_tiles = input_->RowsOnTiles(x.rows);
  pool.ParallelFor(runs, [&](int64_t run, int worker) {
    for (int64_t i = run * strips / runs; i < (run + 1) * strips / runs; ++i) {
      const WeightStrip& strip = strips_[i];
      const float* bias = bias_ == nullptr ? nullptr : bias_.get() + strip.first_out;
      if (on_tiles > 0) {
        input_->extensions().multiply_strip(
            {strip, *input_, on_tiles, bias, accumulate, input_->StripCodes(worker), y});
      }
      if (on_tiles == x.rows) continue;
      HWY_DYNAMIC_DISPATCH(LinearStrip)(strip, *input_, on_tiles, bias, accumulate, y);
    }
  });
}

float BlockLinear::At(int64_t o, int64_t i) const {
  const auto after = std::ranges::upper_bound(strips_, o, {}, &WeightStrip::first_out);
  const WeightStrip& strip = *std::prev(after);
  const int64_t out = o - strip.first_out;
  const std::byte* from = strip.data + i / kWeightBlock * strip.BlockBytes();
  WeightBlock block{.format = strip.format, .has_minimum = strip.has_minima};
  block.scale = LoadUnaligned<Float16>(from, out);
  if (strip.has_minima) block.minimum = LoadUnaligned<Float16>(from, kStrip + out);
  i %= kWeightBlock;
  block.codes[i] = CodeAt(strip, out, i, from + strip.CodesOffset());
  return block.At(i);
}

}  // namespace fmaserver::kernels::cpu
#endif  // HWY_ONCE
