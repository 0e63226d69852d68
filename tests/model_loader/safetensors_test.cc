#include "model_loader/safetensors.h"

#include <algorithm>
#include <cstring>

#include "gtest/gtest.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::model {
namespace {

using testing::ExpectRefusal;
using testing::SafetensorsImage;
using testing::StoredTensor;

absl::StatusOr<std::vector<NamedTensor>> Parse(const std::string& image) {
  return ParseSafetensors(std::as_bytes(std::span(image)), "m.safetensors");
}

std::vector<StoredTensor> TwoTensors() {
  return {{"b", kernels::WeightFormat::kF32, {2, 3}, std::string(24, 'b')},
          {"a", kernels::WeightFormat::kBF16, {5}, std::string(10, 'a')}};
}

TEST(SafetensorsTest, GivesViewsInFileOrder) {
  const std::string image = SafetensorsImage(TwoTensors());
  const auto tensors = Parse(image);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 2U);
  const auto& [name, view] = (*tensors)[0];
  EXPECT_EQ(name, "b");
  EXPECT_EQ(view.dtype, kernels::WeightFormat::kF32);
  EXPECT_EQ(view.shape, std::vector<int64_t>({2, 3}));
  EXPECT_EQ(view.NumElements(), 6);
  EXPECT_EQ(std::memcmp(view.data, "bbbb", 4), 0);
  EXPECT_EQ((*tensors)[1].second.dtype, kernels::WeightFormat::kBF16);
  EXPECT_EQ(std::memcmp((*tensors)[1].second.data, "aaaa", 4), 0);
}

TEST(SafetensorsTest, AllowsMetadataScalarsAndPadding) {
  const auto tensors = Parse(SafetensorsImage(
      R"({"__metadata__":{"format":"pt"},"s":{"dtype":"F16","shape":[],"data_offsets":[0,2]}}   )",
      "xx"));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ(tensors->size(), 1U);
  EXPECT_TRUE(Parse(SafetensorsImage("{}", "")).ok());
}

TEST(SafetensorsTest, RefusesEveryTruncation) {
  const std::string image = SafetensorsImage(TwoTensors());
  for (size_t length = 0; length < image.size(); ++length) {
    ExpectRefusal(Parse(image.substr(0, length)).status(), {"m.safetensors"});
  }
}

TEST(SafetensorsTest, RefusesAnEmptyFile) {
  const testing::TempFolder folder;
  ASSERT_TRUE(testing::WriteFile(folder.path() / "m.safetensors", ""));
  ExpectRefusal(Safetensors::Open(folder.path() / "m.safetensors").status(),
                {"m.safetensors: size is 0 bytes", "at least 8"});
}

TEST(SafetensorsTest, RefusesHeaderLengthsThatLie) {
  std::string image = SafetensorsImage(TwoTensors());
  for (const uint64_t length : {uint64_t{image.size() - 7}, uint64_t{1} << 32, UINT64_MAX}) {
    std::memcpy(image.data(), &length, 8);
    ExpectRefusal(Parse(image).status(), {"header length is " + std::to_string(length),
                                          "at most " + std::to_string(image.size() - 8)});
  }
}

TEST(SafetensorsTest, BoundsTheHeader) {
  const std::string image = SafetensorsImage(std::string(100'000'001, ' '), "");
  ExpectRefusal(Parse(image).status(), {"header length is 100000001", "at most 100000000"});
}

struct BadHeader {
  const char* name;
  const char* header;
  size_t data_bytes;
  std::vector<std::string> message;
};

class BadHeaderTest : public ::testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaderTest, IsRefused) {
  const BadHeader& bad = GetParam();
  std::vector<std::string> parts = bad.message;
  parts.emplace_back("m.safetensors: ");
  ExpectRefusal(Parse(SafetensorsImage(bad.header, std::string(bad.data_bytes, 'x'))).status(),
                parts);
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadHeaderTest,
    ::testing::ValuesIn(std::vector<BadHeader>{
        {"Empty", "", 0, {"not valid JSON"}},
        {"Array", "[]", 0, {"array", "allowed: an object"}},
        {"DuplicateTensor",
         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
         R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
         8,
         {"duplicate key \"a\""}},
        {"DuplicateField",
         R"({"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}})",
         4,
         {"duplicate key \"dtype\""}},
        {"Metadata", R"({"__metadata__":{"a":1}})", 0, {"\"__metadata__\"", "object of strings"}},
        {"MetadataList", R"({"__metadata__":[]})", 0, {"\"__metadata__\" is []"}},
        {"EntryNull", R"({"a":null})", 0, {"tensor \"a\": entry is null", "allowed: an object"}},
        {"EntryField",
         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})",
         4,
         {"tensor \"a\": entry is", "allowed: an object of dtype, shape and data_offsets"}},
        {"NoOffsets", R"({"a":{"dtype":"F32","shape":[1],"y":1}})", 4, {"tensor \"a\": entry"}},
        {"DType",
         R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})",
         8,
         {"tensor \"a\": dtype is \"I64\"; allowed: F32, F16, BF16"}},
        {"DTypeNull",
         R"({"a":{"dtype":null,"shape":[1],"data_offsets":[0,8]}})",
         8,
         {"tensor \"a\": dtype is null"}},
        {"ZeroDimension",
         R"({"a":{"dtype":"F32","shape":[2,0],"data_offsets":[0,0]}})",
         0,
         {"tensor \"a\": shape is [2,0]; allowed: a list of integers above 0"}},
        {"NegativeDimension",
         R"({"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}})",
         4,
         {"tensor \"a\": shape is [-1,-1]"}},
        {"FloatDimension",
         R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})",
         4,
         {"tensor \"a\": shape is [1.0]"}},
        {"ShapeNumber",
         R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})",
         4,
         {"tensor \"a\": shape is 1"}},
        {"OverflowProduct",
         R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
         0,
         {"tensor \"a\": shape is [4294967296,4294967296]", "below 2^63"}},
        {"OverflowBytes",
         R"({"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}})",
         4,
         {"tensor \"a\": shape", "below 2^63"}},
        {"Size",
         R"({"a":{"dtype":"F16","shape":[3],"data_offsets":[0,8]}})",
         8,
         {"tensor \"a\": size of data_offsets is 8; allowed: 6 (shape [3] of F16)"}},
        {"OffsetsReversed",
         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})",
         4,
         {"tensor \"a\": data_offsets is [4,0]", "0 <= begin <= end <= 4"}},
        {"OffsetsOutside",
         R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
         4,
         {"tensor \"a\": data_offsets is [0,8]", "<= 4"}},
        {"OffsetsThree",
         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})",
         4,
         {"tensor \"a\": data_offsets is [0,4,8]"}},
        {"OffsetsHuge",
         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0]}})",
         4,
         {"tensor \"a\": data_offsets is [18446744073709551612,0]"}},
        {"Overlap",
         R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
         R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
         8,
         {"tensor \"b\": begin of data_offsets is 4 (overlap); allowed: 8"}},
        {"SamePlace",
         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
         R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
         4,
         {"is 0 (overlap); allowed: 4"}},
        {"Gap",
         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
         R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
         12,
         {"tensor \"b\": begin of data_offsets is 8 (gap); allowed: 4"}},
        {"Trailing",
         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
         5,
         {"what follows the last tensor is 1 bytes; allowed: nothing"}},
        {"NoTensors", "{}", 1, {"what follows the last tensor is 1 bytes"}},
    }),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fmaserver::model
