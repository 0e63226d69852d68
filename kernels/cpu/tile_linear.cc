#include "kernels/cpu/tile_linear.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/cpu/tiles.h"
#include "kernels/host/host_element.h"
#include "kernels/host/linear.h"

#if HWY_ARCH_X86_64
#include <immintrin.h>
#endif

namespace fmaserver::kernels::cpu {

constexpr int64_t kParts = TileInput::kParts;
constexpr int64_t kInputs = TileInput::kInputs;
constexpr int64_t kTile = TileInput::kTile;

#if HWY_ARCH_X86_64

namespace {

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

}  // namespace

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

#else

void TileInput::Cut(ThreadPool&, Matrix) {}

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
    input_->extensions().multiply_stripes({*input_, Tiles(), chunks_, run * stripes / runs,
                                           (run + 1) * stripes / runs, out, bias_.get(), accumulate,
                                           y});
  });
}

int64_t TileLinear::Stripes() const { return (out + kStripe - 1) / kStripe; }

int64_t TileLinear::Index(int64_t o, int64_t i) const {
  const int64_t chunk = o / kStripe * chunks_ + i / kInputs;
  const int64_t tile = chunk * 2 + o % kStripe / kOutputs;
  return tile * kTile + i % kInputs / 2 * kInputs + o % kOutputs * 2 + i % 2;
}

}  // namespace fmaserver::kernels::cpu
