// What may come as the JSON of a request.
#include "server/openai/read_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/text.h"
#include "server/openai/chat_request.h"
#include "server/openai/completion_request.h"
#include "tests/server/service/test_engine.h"

namespace fmaserver::openai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

service::Vocabulary Bytes() {
  return {.tokenizer = model::MakeByteTokenizer(256), .size = 256, .sampling = {.top_p = 0.5F}};
}

absl::StatusOr<GenerateJob> Read(const std::string& text, bool chat = false) {
  const auto body = ParseBody(text);
  if (!body.ok()) return body.status();
  return ReadJob(*body, chat, Bytes());
}

std::string WhyNot(const std::string& text, bool chat = false) {
  const auto job = Read(text, chat);
  EXPECT_FALSE(job.ok()) << text;
  return std::string(job.status().message());
}

/// The refusal of a completion with one more field.
std::string WhyNotWith(const std::string& field) {
  return WhyNot(Concat(R"({"prompt": "a", )", field, "}"));
}

TEST(ReadJobTest, EveryFieldGoesWhereItBelongs) {
  const auto job = Read(R"({"prompt": "a", "model": "m", "temperature": 0.5, "top_p": 0.25,
      "top_k": 5, "min_p": 0.125, "repetition_penalty": 1.5, "frequency_penalty": 0.75,
      "presence_penalty": -1, "logit_bias": {"7": -100}, "allowed_token_ids": [7, 8],
      "banned_token_ids": [9], "seed": -1, "n": 3, "max_tokens": 20, "min_tokens": 4,
      "ignore_eos": true, "stop": ["x", "y"], "stop_token_ids": [3],
      "include_stop_str_in_output": true, "time_limit_seconds": 2.5, "prompt_logprobs": 2,
      "priority": -3, "cache_salt": "s", "skip_prefix_cache": true, "no_archive": true,
      "sources": 4, "attention_shares": true, "logprobs": 6, "stream": true})");
  ASSERT_TRUE(job.ok()) << job.status();
  const engine::GenerateRequest& options = job->request.options;
  const engine::SamplingParams& sampling = options.sampling;
  EXPECT_EQ(job->model, "m");
  EXPECT_EQ(sampling.temperature, 0.5F);
  EXPECT_EQ(sampling.top_p, 0.25F);
  EXPECT_EQ(sampling.top_k, 5);
  EXPECT_EQ(sampling.min_p, 0.125F);
  EXPECT_EQ(sampling.repetition_penalty, 1.5F);
  EXPECT_EQ(sampling.frequency_penalty, 0.75F);
  EXPECT_EQ(sampling.presence_penalty, -1.0F);
  EXPECT_THAT(sampling.logit_bias, ElementsAre(Pair(7, -100.0F)));
  EXPECT_THAT(sampling.allowed_token_ids, ElementsAre(7, 8));
  EXPECT_THAT(sampling.banned_token_ids, ElementsAre(9));
  EXPECT_EQ(sampling.seed, UINT64_MAX);
  EXPECT_EQ(options.n, 3);
  EXPECT_EQ(options.max_tokens, 20);
  EXPECT_EQ(options.min_tokens, 4);
  EXPECT_TRUE(options.ignore_eos);
  EXPECT_THAT(options.stop, ElementsAre("x", "y"));
  EXPECT_THAT(options.stop_token_ids, ElementsAre(3));
  EXPECT_TRUE(options.include_stop);
  EXPECT_EQ(options.time_limit_seconds, 2.5);
  EXPECT_EQ(options.prompt_logprobs, 2);
  EXPECT_EQ(options.priority, -3);
  EXPECT_EQ(job->request.cache_salt, "s");
  EXPECT_TRUE(job->request.skip_prefix_cache);
  EXPECT_TRUE(options.no_archive);
  EXPECT_EQ(options.sources, 4);
  EXPECT_TRUE(options.attention_shares);
  EXPECT_TRUE(options.logprobs);
  EXPECT_EQ(options.top_logprobs, 6);
  EXPECT_TRUE(job->stream);
  EXPECT_TRUE(job->ignored.empty());
}

TEST(ReadJobTest, ADefaultTopKOfMoreThanTheVocabularyFiltersNothing) {
  service::Vocabulary vocabulary = Bytes();
  vocabulary.sampling.top_k = 257;
  const auto job = ReadJob(*ParseBody(R"({"prompt": "x"})"), false, vocabulary);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->request.options.sampling.top_k, 0);
}

TEST(ReadJobTest, NullAndAbsentAreTheModelsDefaults) {
  const auto job = Read(R"({"prompt": "a", "top_p": null, "stop": null, "logprobs": null,
      "seed": null, "tools": null, "stream_options": null, "max_tokens": null})");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->request.options.sampling.top_p, 0.5F);
  EXPECT_EQ(job->request.options.max_tokens, 16);
  EXPECT_FALSE(job->logprobs);
  EXPECT_FALSE(job->request.options.sampling.seed.has_value());
}

TEST(ReadJobTest, WhatHasNoEffectAnywayIsAllowed) {
  EXPECT_TRUE(Read(R"({"prompt": "a", "tools": [], "tool_choice": "none", "suffix": "",
      "response_format": {"type": "text"}, "skip_special_tokens": true, "best_of": 1,
      "return_hidden_states": false})")
                  .ok());
}

TEST(ReadJobTest, SaysWhichFieldIsWrong) {
  EXPECT_THAT(WhyNotWith(R"("temperature": "hot")"),
              HasSubstr("temperature is \"hot\"; allowed: a number"));
  EXPECT_THAT(WhyNotWith(R"("temperature": 1e300)"), HasSubstr("temperature is"));
  EXPECT_THAT(WhyNotWith(R"("n": 5000000000)"), HasSubstr("n is 5000000000"));
  for (const char* n : {"-1", "0", "129", "2147483647"}) {
    EXPECT_THAT(WhyNotWith(Concat("\"n\": ", n)),
                HasSubstr(Concat("n is ", n, "; allowed: 1 to 128")));
  }
  EXPECT_THAT(WhyNotWith(R"("max_tokens": 1.5)"), HasSubstr("max_tokens is 1.5"));
  EXPECT_THAT(WhyNotWith(R"("stream": "yes")"), HasSubstr("stream is"));
  EXPECT_THAT(WhyNotWith(R"("stop": ["a", 1])"), HasSubstr("stop[1] is 1"));
  EXPECT_THAT(WhyNotWith(R"("stop_token_ids": [1, 256])"),
              HasSubstr("stop_token_ids[1] is 256; allowed: 0 to 255"));
  EXPECT_THAT(WhyNotWith(R"("stop_token_ids": [-1])"), HasSubstr("stop_token_ids[0] is -1"));
  EXPECT_THAT(WhyNotWith(R"("logit_bias": {"x": 1})"), HasSubstr("logit_bias is \"x\""));
  EXPECT_THAT(WhyNotWith(R"("logit_bias": {"256": 1})"), HasSubstr("logit_bias is 256"));
  EXPECT_THAT(WhyNotWith(R"("logit_bias": {"7": null})"), HasSubstr("logit_bias[7] is null"));
  EXPECT_THAT(WhyNotWith(R"("suffix": "b")"), HasSubstr("suffix is \"b\""));
  EXPECT_THAT(WhyNotWith(R"("best_of": 4)"), HasSubstr("best_of is 4"));
  EXPECT_THAT(WhyNotWith(R"("logprobs": -1)"), HasSubstr("logprobs is -1; allowed: 0 to 100"));
  EXPECT_THAT(WhyNotWith(R"("stream_options": {"include_usage": true})"),
              HasSubstr("stream_options"));
  EXPECT_THAT(WhyNotWith(R"("response_format": {"type": "json_object"})"),
              HasSubstr("response_format"));
}

TEST(ReadJobTest, PromptsAreTextsOrTokens) {
  const auto prompts = [](const std::string& prompt) {
    return Read(Concat(R"({"prompt": )", prompt, "}"));
  };
  EXPECT_EQ(prompts(R"("ab")")->prompts.at(0).text, "ab");
  EXPECT_THAT(*prompts("[1, 2]")->prompts.at(0).ids, ElementsAre(1, 2));
  EXPECT_EQ(prompts(R"(["a", "b"])")->prompts.at(1).text, "b");
  EXPECT_THAT(*prompts("[[1], [2, 3]]")->prompts.at(1).ids, ElementsAre(2, 3));
  EXPECT_EQ(prompts(R"(["a", [2]])")->prompts.size(), 2);
  for (const char* wrong : {"7", "{}", "[{}]", "[\"a\", 7]", "[[\"a\"]]", "[1, \"a\"]", "true"}) {
    EXPECT_FALSE(prompts(wrong).ok()) << wrong;
  }
  std::string many = "[\"a\"";
  for (size_t i = 0; i < kMaxPrompts; ++i) many += ",\"a\"";
  EXPECT_THAT(prompts(many + "]").status().message(), HasSubstr("1025 prompts"));
}

TEST(ReadJobTest, HostileJsonIsRefused) {
  EXPECT_THAT(WhyNot(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(WhyNot("[]"), HasSubstr("allowed: an object"));
  EXPECT_THAT(WhyNotWith(R"("x": NaN)"), HasSubstr("not valid JSON"));
  EXPECT_THAT(WhyNotWith(R"("x": "\ud800")"), HasSubstr("not valid JSON"));
  EXPECT_THAT(WhyNotWith("\"x\": \"\xff\""), HasSubstr("not valid JSON"));
  EXPECT_THAT(WhyNotWith(R"("x": 1e999)"), HasSubstr("not valid JSON"));
  EXPECT_THAT(WhyNotWith(R"("prompt": "b")"), HasSubstr("duplicate key"));
  EXPECT_THAT(WhyNotWith(Concat("\"x\": ", std::string(40, '['), std::string(40, ']'))),
              HasSubstr("nested deeper"));
}

TEST(ReadJobTest, MessagesAreTextsOrPartsOfText) {
  const auto job = Read(R"({"max_completion_tokens": 9, "max_tokens": 3, "messages": [
      {"role": "developer", "content": "Be kind."},
      {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
      {"role": "assistant", "content": null}, {"role": "user", "content": "!", "name": "me"}]})",
                        /*chat=*/true);
  ASSERT_TRUE(job.ok()) << job.status();
  const service::Conversation& messages = *job->prompts.at(0).messages;
  ASSERT_EQ(messages.size(), 4);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[1].content, "Hello");
  EXPECT_EQ(messages[2].content, "");
  EXPECT_EQ(job->request.options.max_tokens, 9);
  EXPECT_TRUE(job->ignored.empty());
  EXPECT_EQ(
      Read(R"({"messages": [{"role": "user", "content": "a"}]})", true)->request.options.max_tokens,
      kChatTokens);
}

TEST(ReadJobTest, SaysWhichMessageIsWrong) {
  const auto why = [](const std::string& messages) {
    return WhyNot(Concat(R"({"messages": )", messages, "}"), /*chat=*/true);
  };
  EXPECT_THAT(WhyNot("{}", true), HasSubstr("messages is missing"));
  EXPECT_THAT(why("[]"), HasSubstr("messages is []"));
  EXPECT_THAT(why("[7]"), HasSubstr("messages[0] is 7"));
  EXPECT_THAT(why(R"([{"content": "a"}])"), HasSubstr("messages[0].role is null"));
  EXPECT_THAT(why(R"([{"role": "user"}])"), HasSubstr("messages[0].content is null"));
  EXPECT_THAT(why(R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
              HasSubstr("messages[0].content[0] is"));
  EXPECT_THAT(why(R"([{"role": "assistant", "tool_calls": [1]}])"),
              HasSubstr("messages[0].tool_calls"));
}

}  // namespace
}  // namespace fmaserver::openai
