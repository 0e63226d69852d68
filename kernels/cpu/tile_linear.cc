#include "kernels/cpu/tile_linear.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "hwy/targets.h"
#include "kernels/host/host_element.h"
#include "kernels/host/linear.h"

#if HWY_ARCH_X86_64
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FMA_TILE_CODE __attribute__((target("avx512f,avx512bw,amx-tile,amx-bf16")))
#endif

namespace fmaserver::kernels::cpu {

constexpr int64_t kParts = TileInput::kParts;
constexpr int64_t kRows = TileInput::kRows;
constexpr int64_t kInputs = TileInput::kInputs;
constexpr int64_t kTile = TileInput::kTile;
constexpr int64_t kOutputs = 16;           // of a tile of weights
constexpr int64_t kStripe = 2 * kOutputs;  // outputs that are summed together
constexpr int64_t kTileRowBytes = kInputs * sizeof(BFloat16);

#if HWY_ARCH_X86_64

namespace {

bool AskForTiles() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned kBf16 = 1U << 22;
  constexpr unsigned kTileBit = 1U << 24;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((edx & kBf16) == 0 || (edx & kTileBit) == 0) return false;
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, Linux 5.16
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

/// Row `row` of a block: each part is the upper half of what the parts before it left over, a
/// bfloat16 with 8 significant bits.
FMA_TILE_CODE void CutRow(const float* x, int64_t in, int64_t row, BFloat16* block) {
  constexpr int64_t kLanes = 16;
  constexpr __mmask16 kAll = 0xFFFF;
  const __m512i upper_half = _mm512_set1_epi32(static_cast<int>(0xFFFF0000U));
  for (int64_t i = 0; i < TileInput::Chunks(in) * kInputs; i += kLanes) {
    const int64_t left = std::clamp<int64_t>(in - i, 0, kLanes);
    __m512 rest = _mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << left) - 1), x + i);
    BFloat16* to = block + i / kInputs * kTile + row * kParts * kInputs + i % kInputs;
    for (int64_t part = 0; part < kParts; ++part, to += kInputs) {
      const __m512i upper = _mm512_and_si512(_mm512_castps_si512(rest), upper_half);
      rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(upper));
      _mm512_mask_cvtepi32_storeu_epi16(to, kAll, _mm512_maskz_srli_epi32(kAll, upper, 16));
    }
  }
}

/// The layout that LDTILECFG reads.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  std::array<uint8_t, 14> reserved = {};
  std::array<uint16_t, 16> row_bytes = {};
  std::array<uint8_t, 16> rows = {};
};

/// Tiles 0 and 1 hold sums and tile 4 inputs of one block, 2, 3 and 5 those of another; 6 and 7
/// hold weights.
FMA_TILE_CODE void ConfigureTiles(int64_t rows, int64_t other_rows) {
  constexpr std::array<int, 8> kBlock = {0, 0, 1, 1, 0, 1, 2, 2};
  const std::array<int64_t, 3> tile_rows = {rows * kParts,
                                            std::max<int64_t>(1, other_rows * kParts), 16};
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = kTileRowBytes;
    config.rows[i] = static_cast<uint8_t>(tile_rows[kBlock[i]]);
  }
  // GCC's intrinsic does not tell the compiler that all of it is read.
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

/// Sums of the parts of two blocks.
struct alignas(64) StripeSums {
  float at[2][kRows * kParts + 1][kStripe];
};
constexpr int64_t kSumsRowBytes = sizeof(StripeSums::at[0][0]);

/// Prefetches weights that are needed soon. They are too far ahead for the loads that the processor
/// starts by itself while it waits for sums.
FMA_TILE_CODE void PrefetchTile(const BFloat16* weights) {
  constexpr int64_t kAhead = 4 * kTile;
  constexpr int64_t kLine = 64 / sizeof(BFloat16);
  for (int64_t i = 0; i < kTile; i += kLine) __builtin_prefetch(weights + kAhead + i);
}

FMA_TILE_CODE void SumBlock(const BFloat16* inputs, const BFloat16* weights, int64_t chunks,
                            StripeSums& sums) {
  _tile_zero(0);
  _tile_zero(1);
  for (int64_t chunk = 0; chunk < chunks; ++chunk, inputs += kTile, weights += 2 * kTile) {
    _tile_loadd(4, inputs, kTileRowBytes);
    PrefetchTile(weights);
    _tile_loadd(6, weights, kTileRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    PrefetchTile(weights + kTile);
    _tile_loadd(7, weights + kTile, kTileRowBytes);
    _tile_dpbf16ps(1, 4, 7);
  }
  _tile_stored(0, &sums.at[0][0][0], kSumsRowBytes);
  _tile_stored(1, &sums.at[0][0][kOutputs], kSumsRowBytes);
}

FMA_TILE_CODE void SumTwoBlocks(const BFloat16* inputs, const BFloat16* other,
                                const BFloat16* weights, int64_t chunks, StripeSums& sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    _tile_loadd(4, inputs, kTileRowBytes);
    _tile_loadd(5, other, kTileRowBytes);
    _tile_loadd(6, weights, kTileRowBytes);
    _tile_loadd(7, weights + kTile, kTileRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    inputs += kTile;
    other += kTile;
    weights += 2 * kTile;
  }
  _tile_stored(0, &sums.at[0][0][0], kSumsRowBytes);
  _tile_stored(1, &sums.at[0][0][kOutputs], kSumsRowBytes);
  _tile_stored(2, &sums.at[1][0][0], kSumsRowBytes);
  _tile_stored(3, &sums.at[1][0][kOutputs], kSumsRowBytes);
}

/// Stores up to a stripe of outputs of one row, computed from the sums of its parts. `bias` is that
/// of the stripe, or null.
FMA_TILE_CODE void StoreRow(const float* parts, const float* bias, bool accumulate, int64_t outputs,
                            float* y) {
  for (int64_t o = 0; o < outputs; o += 16) {
    const auto mask = static_cast<__mmask16>((1U << std::min<int64_t>(outputs - o, 16)) - 1);
    __m512 sum = _mm512_load_ps(parts + o + 2 * kStripe);
    sum = _mm512_add_ps(sum, _mm512_load_ps(parts + o + kStripe));
    sum = _mm512_add_ps(sum, _mm512_load_ps(parts + o));
    if (bias != nullptr) sum = _mm512_add_ps(sum, _mm512_load_ps(bias + o));
    if (accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, y + o));
    _mm512_mask_storeu_ps(y + o, mask, sum);
  }
}

FMA_TILE_CODE void ReleaseTiles() { _tile_release(); }

}  // namespace

bool HasTiles() {
  static const bool asked = AskForTiles();
  return asked && (hwy::SupportedTargets() & HWY_AVX3) != 0;
}

void TileInput::Cut(ThreadPool& pool, Matrix x) {
  const int64_t blocks = (x.rows + kRows - 1) / kRows;
  block_size_ = Chunks(x.cols) * kTile;
  if (blocks * block_size_ > size_) {
    size_ = blocks * block_size_;
    tiles_ = AllocateAligned<BFloat16>(size_);
  }
  pool.ParallelFor(x.rows, [&](int64_t row, int) {
    CutRow(x.Row(row), x.cols, row % kRows, tiles_.get() + row / kRows * block_size_);
  });
}

void TileLinear::MultiplyStripes(int64_t first, int64_t end, bool accumulate, Matrix y) const {
  StripeSums sums;
  int64_t configured = 0;
  for (int64_t stripe = first; stripe < end; ++stripe) {
    const BFloat16* weights = Tiles() + stripe * chunks_ * 2 * kTile;
    const int64_t first_out = stripe * kStripe;
    const float* bias = bias_ == nullptr ? nullptr : bias_.get() + first_out;
    for (int64_t row = 0; row < y.rows; row += 2 * kRows) {
      const int64_t rows = std::min(y.rows - row, 2 * kRows);
      if (rows != configured) ConfigureTiles(std::min(rows, kRows), rows - kRows);
      configured = rows;
      const BFloat16* inputs = input_->Block(row / kRows);
      if (rows > kRows) {
        SumTwoBlocks(inputs, input_->Block(row / kRows + 1), weights, chunks_, sums);
      } else {
        SumBlock(inputs, weights, chunks_, sums);
      }
      for (int64_t r = 0; r < rows; ++r) {
        StoreRow(sums.at[r / kRows][r % kRows * kParts], bias, accumulate,
                 std::min(kStripe, out - first_out), y.Row(row + r) + first_out);
      }
    }
  }
  ReleaseTiles();
}

#else

bool HasTiles() { return false; }
void TileInput::Cut(ThreadPool&, Matrix) {}
void TileLinear::MultiplyStripes(int64_t, int64_t, bool, Matrix) const {}

#endif

absl::StatusOr<std::unique_ptr<TileLinear>> TileLinear::Pack(std::span<const HostLinear> stacked,
                                                             std::shared_ptr<TileInput> input,
                                                             ForEach for_each) {
  auto packed = std::make_unique<TileLinear>();
  if (absl::Status status = packed->TakeShapeAndBias(stacked); !status.ok()) return status;
  packed->input_ = std::move(input);
  packed->chunks_ = TileInput::Chunks(packed->in);
  const int64_t stripe_numbers = packed->chunks_ * 2 * kTile;
  auto data = AllocateWeights(packed->Stripes() * stripe_numbers * SizeOf(WeightFormat::kBF16));
  if (!data.ok()) return data.status();
  packed->data_ = *std::move(data);
  const std::vector<StackedRow> rows = RowsOf(stacked);
  for_each(packed->Stripes(), [&](int64_t stripe) {
    const int64_t first = stripe * kStripe;
    const int64_t end = std::min(first + kStripe, packed->out);
    const bool is_whole = end == first + kStripe && packed->in % kInputs == 0;
    if (!is_whole)
      std::fill_n(packed->Tiles() + stripe * stripe_numbers, stripe_numbers, BFloat16{});
    for (int64_t o = first; o < end; ++o) {
      const int64_t start = rows[o].row * packed->in;
      for (int64_t i = 0; i < packed->in; ++i) {
        packed->Tiles()[packed->Index(o, i)] =
            LoadUnaligned<BFloat16>(rows[o].weight->data, start + i);
      }
    }
  });
  return packed;
}

void TileLinear::Multiply(ThreadPool& pool, Matrix x, bool accumulate, Matrix y) const {
  input_->Cut(pool, x);
  // How many runs of stripes a thread gets; tiles are configured once for each run.
  constexpr int64_t kRunsOfAThread = 4;
  const int64_t stripes = Stripes();
  const int64_t runs = pool.threads() == 1 ? 1 : std::min(stripes, kRunsOfAThread * pool.threads());
  pool.ParallelFor(runs, [&](int64_t run, int) {
    MultiplyStripes(run * stripes / runs, (run + 1) * stripes / runs, accumulate, y);
  });
}

int64_t TileLinear::Stripes() const { return (out + kStripe - 1) / kStripe; }

int64_t TileLinear::Index(int64_t o, int64_t i) const {
  const int64_t chunk = o / kStripe * chunks_ + i / kInputs;
  const int64_t tile = chunk * 2 + o % kStripe / kOutputs;
  return tile * kTile + i % kInputs / 2 * kInputs + o % kOutputs * 2 + i % 2;
}

}  // namespace fmaserver::kernels::cpu
