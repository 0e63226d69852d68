// Which operations are combined, and which must not be.
#include "kernels/cuda/fusion.h"

#include <array>
#include <variant>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::kernels::cuda {
namespace {

class FusionTest : public ::testing::Test {
 protected:
  /// Three activations of up to 16 rows; `up` has twice the columns.
  Matrix X(int64_t rows) { return {memory_.data(), rows, 4}; }
  Matrix Normed(int64_t rows) { return {memory_.data() + 64, rows, 4}; }
  Matrix Up(int64_t rows) { return {memory_.data() + 128, rows, 8}; }
  Matrix Activated(int64_t rows) { return {memory_.data() + 256, rows, 4}; }

  NormOperation Norm(int64_t rows) { return {X(rows), {gains_.data()}, Normed(rows)}; }
  LinearOperation Product(int64_t rows) { return {Normed(rows), {}, false, Up(rows)}; }
  ActivateOperation Activate(int64_t rows) { return {MlpKind::kSwiglu, Up(rows), Activated(rows)}; }
  /// A layer's MLP up to the activation, and the next layer's, which overwrites the same matrices.
  std::vector<Operation> Twice(int64_t rows) {
    return {Norm(rows), Product(rows), Activate(rows), Norm(rows), Product(rows), Activate(rows)};
  }

  std::array<float, 512> memory_ = {};
  std::array<float, 4> gains_ = {};
};

TEST_F(FusionTest, NormProductAndActivationBecomeOne) {
  const auto fused = Fused(Twice(8));
  // After the second nothing overwrites the matrix in between, so a later operation may still read
  // it.
  ASSERT_EQ(fused.size(), 4);
  LinearOperation expected = Product(8);
  expected.x = X(8);
  expected.norm = gains_.data();
  expected.y = Activated(8);
  expected.activates = true;
  expected.activation = MlpKind::kSwiglu;
  EXPECT_EQ(fused[0], Operation(expected));
  EXPECT_EQ(fused[1], Operation(Norm(8)));
}

TEST_F(FusionTest, ManyRowsStayAsTheyAre) { EXPECT_EQ(Fused(Twice(9)), Twice(9)); }

TEST_F(FusionTest, WhatIsReadLaterIsWritten) {
  std::vector<Operation> operations = Twice(2);
  const Matrix one_row = {Normed(2).Row(1), 1, 4};
  operations.insert(operations.begin() + 3, NormOperation{one_row, {gains_.data()}, X(1)});
  const auto fused = Fused(operations);
  EXPECT_EQ(fused[0], Operation(Norm(2)));
  EXPECT_TRUE(std::get<LinearOperation>(fused[1]).activates);
}

TEST_F(FusionTest, PartlyOverwrittenIsNotOverwritten) {
  std::vector<Operation> operations = {Norm(4), Product(4), Norm(3), Product(4)};
  EXPECT_EQ(Fused(operations), operations);
}

TEST_F(FusionTest, OtherNormsAreNotTakenIn) {
  for (const bool layer_norm : {true, false}) {
    std::vector<Operation> operations = Twice(1);
    auto& norm = std::get<NormOperation>(operations[0]);
    if (layer_norm) {
      norm.weights.kind = NormKind::kLayerNorm;
    } else {
      norm.weights.bias = gains_.data();
    }
    EXPECT_EQ(Fused(operations)[0], operations[0]);
  }
}

TEST_F(FusionTest, ProductsWithIntegersTakeInWhatComesBefore) {
  for (const int64_t rows : {2, 16}) {
    std::vector<Operation> operations = Twice(rows);
    operations.insert(operations.begin() + 3,
                      LinearOperation{Activated(rows), {}, false, Normed(rows)});
    for (Operation& operation : operations) {
      auto* linear = std::get_if<LinearOperation>(&operation);
      if (linear != nullptr) linear->weights.format = WeightFormat::kInt4;
    }
    LinearOperation up = std::get<LinearOperation>(operations[1]);
    LinearOperation down = std::get<LinearOperation>(operations[3]);
    up.x = X(rows);
    up.norm = gains_.data();
    down.x = Up(rows);
    down.activates_x = true;
    down.activation = MlpKind::kSwiglu;
    const auto fused = Fused(operations);
    ASSERT_EQ(fused.size(), 5);  // nothing overwrites what the second norm gives
    EXPECT_EQ(fused[0], Operation(up));
    EXPECT_EQ(fused[1], Operation(down));
  }
}

TEST_F(FusionTest, SumsAreNotActivated) {
  std::vector<Operation> operations = Twice(1);
  std::get<LinearOperation>(operations[1]).accumulate = true;
  EXPECT_EQ(Fused(operations)[1], Operation(Activate(1)));
}

}  // namespace
}  // namespace fmaserver::kernels::cuda
