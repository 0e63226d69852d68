// What may come as the JSON of a response.
#include "server/openai/response_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/text.h"
#include "server/openai/chat_request.h"
#include "server/openai/read_job.h"

namespace fmaserver::openai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<GenerateJob> ReadAsk(const std::string& text) {
  const auto body = ParseBody(text);
  if (!body.ok()) return body.status();
  return ReadResponse(*body, {.tokenizer = model::MakeByteTokenizer(256), .size = 256});
}

/// The refusal of a response with one more field.
std::string WhyNotAsk(const std::string& field) {
  const auto job = ReadAsk(Concat(R"({"input": "a", )", field, "}"));
  EXPECT_FALSE(job.ok()) << field;
  return std::string(job.status().message());
}

TEST(ResponseRequestTest, EveryFieldGoesWhereItBelongs) {
  const auto job = ReadAsk(R"({"model": "m", "input": "Hello", "instructions": "Be kind.",
      "previous_response_id": "resp_a", "max_output_tokens": 20, "temperature": 0.5, "top_p": 0.25,
      "stream": true, "store": false, "metadata": {"a": "b"}, "user": "me", "truncation": "auto",
      "text": {"format": {"type": "text"}, "verbosity": null}, "seed": 3, "top_k": 4})");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->model, "m");
  const chat::Message& message = job->prompts.at(0).messages->at(0);
  EXPECT_EQ(message.role, "user");
  EXPECT_EQ(message.content, "Hello");
  EXPECT_EQ(job->response.instructions, "Be kind.");
  EXPECT_EQ(job->response.previous, "resp_a");
  EXPECT_FALSE(job->response.store);
  EXPECT_EQ(job->response.metadata, nlohmann::json({{"a", "b"}}));
  EXPECT_EQ(job->response.user, "me");
  EXPECT_EQ(job->response.truncation, "auto");
  EXPECT_TRUE(job->stream);
  const engine::GenerateRequest& options = job->request.options;
  EXPECT_EQ(options.max_tokens, 20);
  EXPECT_EQ(options.sampling.temperature, 0.5F);
  EXPECT_EQ(options.sampling.top_p, 0.25F);
  EXPECT_EQ(options.sampling.seed, 3);
  EXPECT_EQ(options.sampling.top_k, 4);
  EXPECT_TRUE(job->ignored.empty());
}

TEST(ResponseRequestTest, WhatAsksForNothingPassesAndWhatIsUnknownIsNamed) {
  const auto job =
      ReadAsk(R"({"input": "a", "tools": [], "tool_choice": "auto", "background": false,
      "reasoning": {"effort": "none", "summary": null}, "include": [], "conversation": null,
      "top_logprobs": 0, "n": 1, "stream_options": {}, "instructions": "", "metadata": null})");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(job->ignored.empty());
  EXPECT_FALSE(job->response.instructions.has_value());
  EXPECT_EQ(job->request.options.max_tokens, kChatTokens);
  EXPECT_TRUE(job->response.store);
  const auto named = ReadAsk(R"({"input": "a", "parallel_tool_calls": true, "service_tier": "auto",
      "text": {"verbosity": "low"}, "include": ["reasoning.encrypted_content"],
      "stream_options": {"include_obfuscation": false}})");
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_THAT(named->ignored, ElementsAre("include", "parallel_tool_calls", "service_tier",
                                          "stream_options.include_obfuscation", "text.verbosity"));
}

TEST(ResponseRequestTest, ItemsAreMessagesOfText) {
  const auto job = ReadAsk(R"({"input": [
      {"role": "developer", "content": "Be kind."},
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hel"},
                                                      {"type": "text", "text": "lo"}]},
      {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
       "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
      {"role": "user", "content": "!"}]})");
  ASSERT_TRUE(job.ok()) << job.status();
  const service::Conversation& messages = *job->prompts.at(0).messages;
  ASSERT_EQ(messages.size(), 4);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[1].content, "Hello");
  EXPECT_EQ(messages[2].content, "Hi");
  EXPECT_EQ(messages[2].role, "assistant");
}

TEST(ResponseRequestTest, SaysWhichItemIsWrong) {
  const auto why = [](const std::string& input) {
    const auto job = ReadAsk(Concat(R"({"input": )", input, "}"));
    EXPECT_FALSE(job.ok()) << input;
    return std::string(job.status().message());
  };
  EXPECT_THAT(std::string(ReadAsk("{}").status().message()), HasSubstr("input is missing"));
  EXPECT_THAT(why("[]"), HasSubstr("input is []"));
  EXPECT_THAT(why("7"), HasSubstr("input is 7"));
  EXPECT_THAT(why("[7]"), HasSubstr("input[0] is 7"));
  EXPECT_THAT(why(R"([{"role": "user", "content": "a"}, {"type": "function_call_output"}])"),
              HasSubstr("input[1].type is \"function_call_output\"; allowed: \"message\""));
  EXPECT_THAT(why(R"([{"type": 7}])"), HasSubstr("input[0].type is 7"));
  EXPECT_THAT(why(R"([{"content": "a"}])"), HasSubstr("input[0].role is null"));
  EXPECT_THAT(why(R"([{"role": "user", "content": [{"type": "input_image"}]}])"),
              HasSubstr("input[0].content[0] is"));
  EXPECT_THAT(why(R"([{"role": "user", "content": [{"type": "input_text", "text": 7}]}])"),
              HasSubstr("of type input_text or output_text or text"));
}

TEST(ResponseRequestTest, SaysWhichFieldIsWrong) {
  EXPECT_THAT(WhyNotAsk(R"("max_output_tokens": 0)"),
              HasSubstr("max_output_tokens is 0; allowed: 1 or more"));
  EXPECT_THAT(WhyNotAsk(R"("max_tokens": 5)"), HasSubstr("max_output_tokens bounds a response"));
  EXPECT_THAT(WhyNotAsk(R"("previous_response_id": "")"), HasSubstr("previous_response_id is"));
  EXPECT_THAT(WhyNotAsk(R"("metadata": {"a": 1})"), HasSubstr("metadata is"));
  EXPECT_THAT(WhyNotAsk(Concat(R"("metadata": {"a": ")", std::string(513, 'x'), "\"}")),
              HasSubstr("metadata is"));
  EXPECT_THAT(WhyNotAsk(R"("metadata": [])"), HasSubstr("metadata is []"));
  EXPECT_THAT(WhyNotAsk(Concat(R"("user": ")", std::string(513, 'x'), "\"")), HasSubstr("user is"));
  EXPECT_THAT(WhyNotAsk(R"("truncation": "some")"), HasSubstr("truncation is \"some\""));
  EXPECT_THAT(WhyNotAsk(R"("text": {"format": {"type": "json_schema"}})"),
              HasSubstr("text.format is"));
  EXPECT_THAT(WhyNotAsk(R"("text": "x")"), HasSubstr("text is"));
  EXPECT_THAT(WhyNotAsk(R"("tools": [{"type": "web_search"}])"), HasSubstr("tools is"));
  EXPECT_THAT(WhyNotAsk(R"("tool_choice": "required")"), HasSubstr("tool_choice is"));
  EXPECT_THAT(WhyNotAsk(R"("reasoning": {"effort": "low"})"), HasSubstr("reasoning is"));
  EXPECT_THAT(WhyNotAsk(R"("background": true)"), HasSubstr("background is true"));
  EXPECT_THAT(WhyNotAsk(R"("conversation": "conv_1")"), HasSubstr("conversation is"));
  EXPECT_THAT(WhyNotAsk(R"("prompt": {"id": "p"})"), HasSubstr("prompt is"));
  EXPECT_THAT(WhyNotAsk(R"("include": ["message.output_text.logprobs"])"), HasSubstr("include is"));
  EXPECT_THAT(WhyNotAsk(R"("top_logprobs": 3)"), HasSubstr("top_logprobs is 3"));
  EXPECT_THAT(WhyNotAsk(R"("n": 2)"), HasSubstr("n is 2; allowed: 1"));
  EXPECT_THAT(WhyNotAsk(R"("store": 1)"), HasSubstr("store is 1"));
  EXPECT_THAT(WhyNotAsk(R"("instructions": ["x"])"), HasSubstr("instructions is"));
}

TEST(ResponseRequestTest, InstructionsThatAreInForceAreNotSaidAgain) {
  const auto with = [](const std::string& fields, const std::optional<std::string>& in_force) {
    auto job = ReadAsk(Concat(R"({"input": "a")", fields, "}"));
    ApplyInstructions(in_force, *job);
    return *job;
  };
  GenerateJob job = with(R"(, "instructions": "Be kind.")", std::nullopt);
  ASSERT_EQ(job.prompts[0].messages->size(), 2);
  EXPECT_EQ(job.prompts[0].messages->front().role, "system");
  EXPECT_EQ(job.prompts[0].messages->front().content, "Be kind.");
  job = with(R"(, "instructions": "Be kind.")", "Be kind.");
  EXPECT_EQ(job.prompts[0].messages->size(), 1);
  job = with(R"(, "instructions": "Be brief.")", "Be kind.");
  EXPECT_EQ(job.prompts[0].messages->size(), 2);
  EXPECT_EQ(job.response.instructions, "Be brief.");
  job = with("", "Be kind.");
  EXPECT_EQ(job.prompts[0].messages->size(), 1);
  EXPECT_EQ(job.response.instructions, "Be kind.");
}

}  // namespace
}  // namespace fmaserver::openai
