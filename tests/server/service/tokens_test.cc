#include "server/service/tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/server/service/service_fixture.h"

namespace fmaserver::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TokensTest : public ::testing::Test {
 protected:
  service::Vocabulary Vocabulary() { return service::VocabularyOf(*service_.model()); }

  TestService service_{{.limits = {.text_bytes = 8}}};
};

TEST_F(TokensTest, TokenizeAndBack) {
  const auto call = service_.Begin(service::kTokenize);
  EXPECT_THAT(*service::Tokenize(*call, "n\xc3\xa9", Vocabulary()), ElementsAre('n', 0xc3, 0xa9));
  const std::vector<uint32_t> ids = {'n', 0xc3, 0xa9};
  EXPECT_EQ(*service::Detokenize(*call, ids, Vocabulary()), "n\xc3\xa9");
}

TEST_F(TokensTest, BothAreCharged) {
  {
    const auto call = service_.Begin(service::kTokenize);
    ASSERT_TRUE(service::Tokenize(*call, "abcd", Vocabulary()).ok());
  }
  EXPECT_EQ(service_.reports().Await(service::kTokenize).usage.prompt_tokens, 4);
  service_.reports().Forget();
  {
    const auto call = service_.Begin(service::kDetokenize);
    const std::vector<uint32_t> ids = {1, 2};
    ASSERT_TRUE(service::Detokenize(*call, ids, Vocabulary()).ok());
  }
  EXPECT_EQ(service_.reports().Await(service::kDetokenize).usage.prompt_tokens, 2);
}

TEST_F(TokensTest, RefusalsNameWhatWasFound) {
  const auto call = service_.Begin(service::kTokenize);
  EXPECT_THAT(std::string(service::Tokenize(*call, "123456789", Vocabulary()).status().message()),
              HasSubstr("number of bytes in text is 9; allowed: up to 8"));
  EXPECT_THAT(std::string(service::Tokenize(*call, "ab\xff", Vocabulary()).status().message()),
              HasSubstr("text: "));
  const std::vector<uint32_t> ids = {1, 4'000'000'000};
  EXPECT_THAT(std::string(service::Detokenize(*call, ids, Vocabulary()).status().message()),
              HasSubstr("token_ids[1] is 4000000000; allowed: 0 to 255"));
  service::Vocabulary none = Vocabulary();
  none.tokenizer = nullptr;
  EXPECT_EQ(service::Tokenize(*call, "a", none).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(service::Detokenize(*call, {}, none).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace fmaserver::testing
