// How weights lie in tiles, which needs no processor that multiplies them.
#include "kernels/cpu/tile_linear.h"

#include <cstddef>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels {
namespace {

TEST(TileLinear, WhatIsPackedIsReadAgainAndTheRestIsZero) {
  for (const auto& [first, second, in] : {std::tuple{1, 0, 1}, {20, 45, 70}, {32, 32, 64}}) {
    const int64_t out = first + second;
    std::vector<BFloat16> numbers;
    for (int64_t i = 0; i < out * in; ++i) {
      numbers.push_back(FromFloat<BFloat16>(static_cast<float>(1 + i % 200)));
    }
    std::vector<HostLinear> parts;
    for (const auto& [row, rows] : {std::pair{0, first}, {first, second}}) {
      if (rows == 0) continue;
      parts.push_back({{.data = reinterpret_cast<const std::byte*>(&numbers[row * in]),
                        .format = WeightFormat::kBF16,
                        .rows = rows,
                        .cols = in},
                       {}});
    }
    const auto packed = cpu::TileLinear::Pack(parts, nullptr, [](int64_t count, auto body) {
      for (int64_t i = count; i-- > 0;) body(i);
    });
    ASSERT_TRUE(packed.ok()) << packed.status();
    for (int64_t o = 0; o < (out + 31) / 32 * 32; ++o) {
      for (int64_t i = 0; i < (in + 31) / 32 * 32; ++i) {
        const bool is_inside = o < out && i < in;
        ASSERT_EQ((*packed)->At(o, i), is_inside ? ToFloat(numbers[o * in + i]) : 0)
            << o << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace fmaserver::kernels
