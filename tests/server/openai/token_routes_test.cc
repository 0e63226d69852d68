// /tokenize, /detokenize and /tokenizer_info over real sockets.
#include "server/openai/token_routes.h"

#include <gtest/gtest.h>

#include <utility>

#include "nlohmann/json.hpp"
#include "tests/server/openai/door_fixture.h"
#include "tests/server/openai/http_client.h"

namespace fmaserver::testing {
namespace {

using nlohmann::json;

json Tokens(const Door& door, const std::string& text) {
  const json request = {{"prompt", text}};
  return json::parse(Post(door.port(), "/tokenize", request.dump()).body)["tokens"];
}

TEST(TokenRoutesTest, TheSpellingOfAControlTokenAloneIsThatToken) {
  Door door(ChatDoor());
  const int32_t end = door.engine().model().config().eos_token_ids.front();
  const json info = json::parse(Get(door.port(), "/tokenizer_info").body);
  EXPECT_EQ(info["eos_token"], "<|end|>");
  EXPECT_EQ(info["pad_token"], nullptr);
  EXPECT_EQ(Tokens(door, "<|end|>"), json::array({end}));
  EXPECT_GT(Tokens(door, "<|end|> ").size(), 2);
  EXPECT_GT(Tokens(door, "x<|end|>").size(), 2);
}

TEST(TokenRoutesTest, NoLimitIsForgottenForAControlToken) {
  DoorOptions options = ChatDoor();
  options.policy.limits.text_bytes = 3;
  const Door door(std::move(options));
  EXPECT_EQ(Post(door.port(), "/tokenize", R"({"prompt": "<|end|>"})").status, 400);
}

TEST(TokenRoutesTest, ATokenizerWithoutSpellingsSaysNone) {
  const Door door;
  EXPECT_EQ(json::parse(Get(door.port(), "/tokenizer_info").body)["eos_token"], nullptr);
  EXPECT_EQ(Tokens(door, "ab"), json::array({'a', 'b'}));
}

}  // namespace
}  // namespace fmaserver::testing
