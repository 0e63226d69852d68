// Sampling fields by their names, in every form that a client may give them.
#include "server/kserve/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fmaserver::kserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParametersTest, SetsFieldsOfEveryType) {
  v1::GenerateRequest request;
  const absl::Status status = SetParameters(
      R"({"temperature": 0.5, "top_k": 9, "seed": 18446744073709551615, "ignore_eos": true,
          "stop": "one", "stop_token_ids": [1, 2], "logit_bias": {"5": -1.5}, "cache_salt": "s",
          "time_limit_seconds": 2.5})",
      request);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_FLOAT_EQ(request.sampling().temperature(), 0.5);
  EXPECT_EQ(request.sampling().top_k(), 9U);
  EXPECT_EQ(request.sampling().seed(), 18446744073709551615U);
  EXPECT_TRUE(request.ignore_eos());
  EXPECT_THAT(request.stop(), ElementsAre("one"));
  EXPECT_THAT(request.stop_token_ids(), ElementsAre(1, 2));
  EXPECT_FLOAT_EQ(request.sampling().logit_bias().at(5), -1.5);
  EXPECT_EQ(request.cache_salt(), "s");
  EXPECT_EQ(request.time_limit_seconds(), 2.5);
}

TEST(ParametersTest, TheLastValueCounts) {
  v1::GenerateRequest request;
  ASSERT_TRUE(SetParameters(R"({"stop": ["a", "b"], "max_tokens": 5})", request).ok());
  ASSERT_TRUE(SetParameter("stop", "c", request).ok());
  EXPECT_THAT(request.stop(), ElementsAre("c"));
  EXPECT_EQ(request.max_tokens(), 5U) << "the others stay";
}

TEST(ParametersTest, NamesWhatIsWrong) {
  const auto refusal = [](const std::string& json) {
    v1::GenerateRequest request;
    return std::string(SetParameters(json, request).message());
  };
  EXPECT_THAT(refusal("{"), HasSubstr("sampling_parameters"));
  EXPECT_THAT(refusal("[]"), HasSubstr("sampling_parameters"));
  EXPECT_THAT(refusal(R"({"beams": 1})"), HasSubstr("parameter is \"beams\"; allowed: max_tokens"));
  EXPECT_THAT(refusal(R"({"model": "x"})"), HasSubstr("parameter is \"model\""));
  EXPECT_THAT(refusal(R"({"session_id": "x"})"), HasSubstr("parameter is \"session_id\""));
  EXPECT_THAT(refusal(R"({"n": 2})"), HasSubstr("parameter is \"n\""));
  EXPECT_EQ(refusal(R"({"top_k": -1})"),
            "top_k is -1; allowed: a whole number from 0 that fits into 32 bits");
  EXPECT_EQ(refusal(R"({"top_k": 5000000000})"),
            "top_k is 5000000000; allowed: a whole number from 0 that fits into 32 bits");
  EXPECT_EQ(refusal(R"({"temperature": "hot"})"), "temperature is \"hot\"; allowed: a number");
  EXPECT_EQ(refusal(R"({"temperature": null})"), "temperature is null; allowed: a number");
  EXPECT_EQ(refusal(R"({"ignore_eos": 1})"), "ignore_eos is 1; allowed: true or false");
  EXPECT_EQ(refusal(R"({"stop": {"x": 1}})"),
            "stop is {\"x\":1}; allowed: text or a list of these");
  EXPECT_EQ(refusal(R"({"logit_bias": [1]})"),
            "logit_bias is [1]; allowed: an object of token ids and numbers");
}

}  // namespace
}  // namespace fmaserver::kserve
