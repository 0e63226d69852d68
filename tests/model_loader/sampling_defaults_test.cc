#include "model_loader/sampling_defaults.h"

#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace fmaserver::model {
namespace {

using testing::ExpectRefusal;

TEST(SamplingDefaultsTest, AreWhatTheMakersSay) {
  const auto defaults = ParseSamplingDefaults(
      R"({"do_sample": true, "temperature": 0.5, "top_k": 20, "top_p": 0.25, "min_p": 0.125,
          "repetition_penalty": 1.5, "max_length": 4096, "eos_token_id": [2, 5]})",
      "file");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->temperature, 0.5F);
  EXPECT_EQ(defaults->top_k, 20);
  EXPECT_EQ(defaults->top_p, 0.25F);
  EXPECT_EQ(defaults->min_p, 0.125F);
  EXPECT_EQ(defaults->repetition_penalty, 1.5F);
}

TEST(SamplingDefaultsTest, MeanNothingWithoutSampling) {
  for (const char* text : {"{}", R"({"temperature": 0.5})",
                           R"({"do_sample": false, "temperature": "x", "top_k": -1})"}) {
    const auto defaults = ParseSamplingDefaults(text, "file");
    ASSERT_TRUE(defaults.ok()) << defaults.status();
    EXPECT_EQ(defaults->temperature, 1.0F);
    EXPECT_EQ(defaults->top_k, 0);
  }
}

TEST(SamplingDefaultsTest, RefusesWhatRequestsMayNotHave) {
  for (const auto& [value, key] :
       {std::pair{R"("temperature": -1)", "\"temperature\" is -1"},
        std::pair{R"("temperature": 1e99)", "\"temperature\" is 1e+99"},
        std::pair{R"("top_k": 1.5)", "\"top_k\" is 1.5"}, std::pair{R"("top_p": 0)", "\"top_p\""},
        std::pair{R"("min_p": "half")", "\"min_p\" is \"half\""},
        std::pair{R"("repetition_penalty": 0)", "\"repetition_penalty\" is 0"}}) {
    const std::string text = std::string(R"({"do_sample": true, )") + value + "}";
    ExpectRefusal(ParseSamplingDefaults(text, "file").status(), {"file", key, "allowed: "});
  }
  ExpectRefusal(ParseSamplingDefaults(R"({"do_sample": 1})", "file").status(),
                {"\"do_sample\" is 1"});
}

}  // namespace
}  // namespace fmaserver::model
