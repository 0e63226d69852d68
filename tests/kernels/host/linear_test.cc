#include "kernels/host/linear.h"

#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::kernels {
namespace {

HostMatrix MatrixOf(const std::vector<float>& values, int64_t rows) {
  return {.data = reinterpret_cast<const std::byte*>(values.data()),
          .format = WeightFormat::kF32,
          .rows = rows,
          .cols = static_cast<int64_t>(values.size()) / rows};
}

TEST(StackedLinear, HasTheOutputsOfAllPartsAndZerosForBiasesThatAreNotThere) {
  const std::vector<float> first(6, 1.0F);
  const std::vector<float> second(3, 1.0F);
  const std::vector<float> bias = {7.0F};
  const HostLinear parts[] = {{MatrixOf(first, 2), {}}, {MatrixOf(second, 1), MatrixOf(bias, 1)}};
  const auto shape = ShapeOf(parts);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->out, 3);
  EXPECT_EQ(shape->in, 3);
  EXPECT_EQ(shape->format, WeightFormat::kF32);
  EXPECT_EQ(StackedBias(parts), (std::vector<float>{0, 0, 7}));
  EXPECT_TRUE(StackedBias(std::span(parts).first(1)).empty());
}

TEST(StackedLinear, FormatsThatDifferBecomeFloat32) {
  const std::vector<float> values(4, 1.0F);
  HostLinear half{MatrixOf(values, 2), {}};
  half.weight.format = WeightFormat::kBF16;
  const HostLinear alike[] = {half, half};
  EXPECT_EQ(ShapeOf(alike)->format, WeightFormat::kBF16);
  const HostLinear differ[] = {half, {MatrixOf(values, 2), {}}};
  EXPECT_EQ(ShapeOf(differ)->format, WeightFormat::kF32);
}

TEST(StackedLinear, RefusesPartsThatDoNotGoTogether) {
  const std::vector<float> values(6, 1.0F);
  const HostMatrix weight = MatrixOf(values, 2);
  const auto refusal = [](const HostLinear& part) {
    const HostLinear parts[] = {{part.weight, {}}, part};
    return std::string(ShapeOf(parts).status().message());
  };
  EXPECT_EQ(refusal({weight, MatrixOf(values, 1)}),
            "a bias has 6 numbers; allowed: 2, one for each output");
  HostMatrix scaled = weight;
  scaled.scales = &weight;
  EXPECT_EQ(refusal({scaled, {}}),
            "a weight of format F32 has scales or minima of blocks; allowed: none in this format");
  HostMatrix integers = weight;
  integers.format = WeightFormat::kInt8;
  EXPECT_EQ(refusal({integers, {}}),
            "a weight of format I8 has 3 inputs; allowed: a multiple of 32");
  const HostLinear inputs[] = {{weight, {}}, {MatrixOf(values, 3), {}}};
  EXPECT_EQ(ShapeOf(inputs).status().message(),
            "a weight's inputs are 2; allowed: 3, as of the first of the stack");
}

}  // namespace
}  // namespace fmaserver::kernels
