// Completions over real sockets: what is streamed and what is whole, and what both say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/text.h"
#include "nlohmann/json.hpp"
#include "tests/server/openai/door_fixture.h"
#include "tests/server/openai/http_client.h"

namespace fmaserver::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kPath[] = "/v1/completions";

json Complete(const Door& door, const json& request) {
  const HttpAnswer answer = Post(door.port(), kPath, request.dump());
  EXPECT_EQ(answer.status, 200) << answer.body;
  return json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
}

/// The data of a stream of events, of which the last must be [DONE].
std::vector<json> EventsOf(const std::string& body) {
  std::vector<json> events;
  size_t begin = 0;
  for (size_t end = 0; (end = body.find("\n\n", begin)) != std::string::npos; begin = end + 2) {
    const std::string event = body.substr(begin, end - begin);
    if (event == "data: [DONE]") return events;
    if (event.starts_with("data: ")) events.push_back(json::parse(event.substr(6)));
  }
  ADD_FAILURE() << "no end: " << body;
  return events;
}

std::vector<json> Stream(const Door& door, json request) {
  request["stream"] = true;
  const HttpAnswer answer = Post(door.port(), kPath, request.dump());
  EXPECT_EQ(answer.headers.at("content-type"), "text/event-stream; charset=utf-8") << answer.body;
  return EventsOf(answer.body);
}

std::string TextOf(const std::vector<json>& events, int index = 0) {
  std::string text;
  for (const json& event : events) {
    for (const json& choice : event["choices"]) {
      if (choice["index"] == index) text += choice["text"].get<std::string>();
    }
  }
  return text;
}

const json kRequest = {{"prompt", "It was a dark"}, {"max_tokens", 40}, {"seed", 7}};

json With(json request, const char* name, json value) {
  request[name] = std::move(value);
  return request;
}

TEST(CompletionTest, AnswersInTheShapeThatClientsKnow) {
  const Door door;
  const json answer = Complete(door, kRequest);
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(answer["model"], "test");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer["choices"][0]["logprobs"], nullptr);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 13);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 40);
  EXPECT_EQ(answer["usage"]["total_tokens"], 53);
}

TEST(CompletionTest, AStreamSaysWhatAWholeAnswerSays) {
  const Door door;
  const std::vector<json> events = Stream(door, kRequest);
  EXPECT_EQ(TextOf(events), Complete(door, kRequest)["choices"][0]["text"]);
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "length");
}

TEST(CompletionTest, CountsTokensWhereAsked) {
  const Door door;
  const auto usage = [&](const json& options) {
    return Stream(door, With(kRequest, "stream_options", options));
  };
  EXPECT_FALSE(usage(nullptr).back().contains("usage"));
  const json last = usage({{"include_usage", true}}).back();
  EXPECT_EQ(last["choices"], json::array());
  EXPECT_EQ(last["usage"]["completion_tokens"], 40);
  const auto all = usage({{"include_usage", true}, {"continuous_usage_stats", true}});
  for (const json& event : all) EXPECT_EQ(event["usage"]["prompt_tokens"], 13);
  EXPECT_LT(all.front()["usage"]["completion_tokens"], 40);
}

TEST(CompletionTest, AnswersAListOfPromptsInItsOrder) {
  const Door door;
  json request = kRequest;
  request["prompt"] = {"one", "two"};
  request["n"] = 2;
  const json choices = Complete(door, request)["choices"];
  ASSERT_EQ(choices.size(), 4);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(choices[i]["index"], i);
  const auto alone = [&](const char* prompt) {
    return Complete(door, With(With(kRequest, "prompt", prompt), "n", 2))["choices"];
  };
  EXPECT_EQ(choices[0]["text"], alone("one")[0]["text"]);
  EXPECT_EQ(choices[3]["text"], alone("two")[1]["text"]);
  const std::vector<json> events = Stream(door, request);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(TextOf(events, i), choices[i]["text"]);
}

TEST(CompletionTest, AListOfPromptsMayBeLongerThanTheQueue) {
  DoorOptions options;
  options.engine.num_slots = 2;
  options.engine.max_queue = 2;
  const Door door(std::move(options));
  json request = kRequest;
  request["prompt"] = std::vector<std::string>(20, "abc");
  EXPECT_EQ(Complete(door, request)["choices"].size(), 20);
}

TEST(CompletionTest, TakesTokensForText) {
  const Door door;
  const std::string text = kRequest["prompt"];
  const std::vector<int> ids(text.begin(), text.end());
  const json expected = Complete(door, kRequest)["choices"][0]["text"];
  EXPECT_EQ(Complete(door, With(kRequest, "prompt", ids))["choices"][0]["text"], expected);
  const json list = json::array({ids, ids});
  EXPECT_EQ(Complete(door, With(kRequest, "prompt", list))["choices"][1]["text"], expected);
}

TEST(CompletionTest, EchoesThePromptWithItsScores) {
  const Door door;
  json request = {{"prompt", "abcd"}, {"max_tokens", 1},  {"logprobs", 1},
                  {"echo", true},     {"temperature", 0}, {"seed", 1}};
  const json choice = Complete(door, request)["choices"][0];
  EXPECT_TRUE(choice["text"].get<std::string>().starts_with("abcd"));
  const json& logprobs = choice["logprobs"];
  for (const char* list : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) {
    EXPECT_EQ(logprobs[list].size(), 5) << list;
  }
  EXPECT_EQ(logprobs["token_logprobs"][0], nullptr);
  EXPECT_EQ(logprobs["top_logprobs"][0], nullptr);
  EXPECT_THAT(logprobs["text_offset"], ElementsAre(0, 1, 2, 3, 4));
  // The chosen token is the likeliest, and both lists have the same number for it.
  double most = -INFINITY;
  for (const auto& [token, value] : logprobs["top_logprobs"][4].items()) {
    most = std::max(most, value.get<double>());
  }
  EXPECT_EQ(logprobs["token_logprobs"][4], most);
  request["max_tokens"] = 0;
  const json scored = Complete(door, request);
  EXPECT_EQ(scored["choices"][0]["text"], "abcd");
  EXPECT_EQ(scored["usage"]["completion_tokens"], 0);
  const json& first = scored["choices"][0]["logprobs"]["token_logprobs"];
  ASSERT_EQ(first.size(), 4);
  EXPECT_EQ(first[3], logprobs["token_logprobs"][3]);
}

TEST(CompletionTest, TheEndOfTheSequenceHasAScore) {
  DoorOptions options;
  options.config.eos_token_ids = {'x'};
  const Door door(std::move(options));
  const json request = {{"prompt", "abcd"}, {"max_tokens", 5},    {"logprobs", 0},
                        {"echo", true},     {"temperature", 0.0}, {"logit_bias", {{"120", 100}}}};
  const json choice = Complete(door, request)["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["text"], "abcd");
  EXPECT_EQ(choice["logprobs"]["tokens"].size(), 5);
}

TEST(CompletionTest, SaysWhatStoppedIt) {
  const Door door;
  const json biased = With(kRequest, "logit_bias", {{"120", 100}});
  const auto stopped = [&](const char* field, const json& value) {
    return Complete(door, With(biased, field, value))["choices"][0];
  };
  const json text = stopped("stop", "xx");
  EXPECT_EQ(text["text"], "");
  EXPECT_EQ(text["finish_reason"], "stop");
  EXPECT_EQ(text["stop_reason"], "xx");
  const json token = stopped("stop_token_ids", {120});
  EXPECT_EQ(token["finish_reason"], "stop");
  EXPECT_EQ(token["stop_reason"], 120);
}

TEST(CompletionTest, NamesWhatItIgnores) {
  const Door door;
  json request = kRequest;
  request["user"] = "me";
  request["no_stop_trim"] = false;
  request["bad\r\nname"] = 1;
  request["metadata"] = nullptr;
  const HttpAnswer answer = Post(door.port(), kPath, request.dump());
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("x-fma-ignored-fields"), "no_stop_trim, user, ... (1 more)");
}

TEST(CompletionTest, ErrorsAreThoseOfTheApi) {
  const Door door;
  const auto error = [&](const json& request, int status) {
    const HttpAnswer answer = Post(door.port(), kPath, request.dump());
    EXPECT_EQ(answer.status, status) << answer.body;
    return json::parse(answer.body)["error"];
  };
  const json range = error(With(kRequest, "top_p", 2), 400);
  EXPECT_EQ(range["type"], "invalid_request_error");
  EXPECT_EQ(range["param"], "top_p");
  EXPECT_THAT(range["message"].get<std::string>(), HasSubstr("top_p is 2; allowed: above 0"));
  EXPECT_EQ(error(With(kRequest, "model", "other"), 404)["code"], "model_not_found");
  EXPECT_EQ(error(With(kRequest, "tools", json::array({1})), 400)["param"], "tools");
  EXPECT_EQ(error(json::object(), 400)["param"], "prompt");
  EXPECT_EQ(error(With(With(kRequest, "stream", true), "temperature", -1), 400)["param"],
            "temperature");
}

TEST(CompletionTest, AFullServerSaysWhenToComeAgain) {
  DoorOptions options;
  options.engine.num_slots = 1;
  options.engine.max_queue = 0;
  Door door(std::move(options));
  HttpClient busy(door.port());
  busy.Ask("POST", kPath, R"({"prompt": "abc", "max_tokens": 100000000, "ignore_eos": true})");
  EXPECT_TRUE(Eventually([&] { return door.engine().Load().running == 1; }));
  const HttpAnswer answer = Post(door.port(), kPath, kRequest.dump());
  EXPECT_EQ(answer.status, 429);
  EXPECT_GE(std::stoi(answer.headers.at("retry-after")), 1);
}

TEST(CompletionTest, ASilentStreamGetsComments) {
  DoorOptions options;
  options.engine.num_slots = 1;
  options.patience.ping = std::chrono::milliseconds(20);
  Door door(std::move(options));
  HttpClient busy(door.port());
  busy.Ask("POST", kPath, R"({"prompt": "abc", "max_tokens": 100000000, "ignore_eos": true})");
  EXPECT_TRUE(Eventually([&] { return door.engine().Load().running == 1; }));
  HttpClient waits(door.port());
  waits.Ask("POST", kPath, R"({"prompt": "abc", "max_tokens": 3, "stream": true})");
  EXPECT_TRUE(waits.AwaitText(": ping\n\n"));
  busy.Close();
  const HttpAnswer answer = waits.Receive();
  EXPECT_TRUE(answer.complete);
  EXPECT_FALSE(EventsOf(answer.body.substr(answer.body.find("data"))).empty());
}

TEST(CompletionTest, AnErrorInAStreamIsAnEvent) {
  DoorOptions options;
  options.patience.ping = std::chrono::milliseconds(20);
  Door door(std::move(options));
  HttpClient client(door.port());
  client.Ask("POST", kPath,
             R"({"prompt": "abc", "max_tokens": 100000000, "ignore_eos": true, "stream": true})");
  EXPECT_TRUE(client.AwaitText("data: "));
  door.engine().Drain(absl::ZeroDuration());
  const HttpAnswer answer = client.Receive();
  EXPECT_TRUE(answer.complete);
  const std::vector<json> events = EventsOf(answer.body);
  EXPECT_EQ(events.back()["error"]["type"], "overloaded_error");
  EXPECT_EQ(Post(door.port(), kPath, kRequest.dump()).status, 503);
}

TEST(CompletionTest, TellsHowFarAPromptIsRead) {
  const Door door;
  json request = {{"prompt", std::string(2000, 'a')}, {"max_tokens", 1}, {"return_progress", true}};
  const std::vector<json> events = Stream(door, request);
  const json& progress = events.front()["prompt_progress"];
  EXPECT_EQ(progress["total"], 2000);
  EXPECT_LT(progress["processed"], 2000);
  EXPECT_EQ(progress["cache"], 0);
  // The beginning is cached now.
  request["prompt"] = std::string(2000, 'a') + std::string(1000, 'b');
  EXPECT_GT(Stream(door, request).front()["prompt_progress"]["cache"], 0);
}

TEST(CompletionTest, TellsHowEachTokenDividedItsAttention) {
  const Door door;
  const json request = {{"prompt", std::string(70, 'a')}, {"max_tokens", 9}, {"seed", 7}};
  EXPECT_FALSE(Complete(door, request)["choices"][0].contains("attention_shares"));
  const json asking = With(request, "attention_shares", true);
  const json whole = Complete(door, asking)["choices"][0]["attention_shares"];
  ASSERT_EQ(whole.size(), 9U);
  for (const json& token : whole) {
    for (const json& layer : token) {
      double sum = layer["sinks"].get<double>() + layer["near_field"].get<double>() +
                   layer["opened_units"].get<double>();
      for (const json& level : layer["levels"]) sum += level.get<double>();
      EXPECT_NEAR(sum, 1, 1e-5);
    }
  }
  json streamed = json::array();
  for (const json& event : Stream(door, asking)) {
    const json& choice = event["choices"][0];
    if (!choice.contains("attention_shares")) continue;
    for (const json& token : choice["attention_shares"]) streamed.push_back(token);
  }
  EXPECT_EQ(streamed, whole);
}

TEST(CompletionTest, TellsWhereEachTokenWasReadFrom) {
  const Door door(
      {.config = testing::OpeningModelConfig(), .engine = {.archive = {.bytes = 64 << 20}}});
  std::string prompt;
  for (int i = 0; i < 120; ++i) prompt += static_cast<char>('a' + i % 26);
  const json request = {{"prompt", prompt}, {"max_tokens", 9}, {"seed", 7}};
  EXPECT_FALSE(Complete(door, request)["choices"][0].contains("sources"));
  const json asking = With(request, "sources", 2);
  const json whole = Complete(door, asking)["choices"][0]["sources"];
  ASSERT_EQ(whole.size(), 9U);
  for (const json& token : whole) {
    ASSERT_EQ(token.size(), 2U);
    for (const json& unit : token) {
      const auto begin = unit["first_byte"].get<size_t>();
      const auto end = unit["end_byte"].get<size_t>();
      EXPECT_EQ(unit["text"], prompt.substr(begin, end - begin));
      EXPECT_EQ(unit["end_token"].get<int>() - unit["first_token"].get<int>(), 2);
      EXPECT_GT(unit["share"].get<double>(), 0);
    }
  }
  json streamed = json::array();
  for (const json& event : Stream(door, asking)) {
    for (const json& token : event["choices"][0].value("sources", json::array())) {
      streamed.push_back(token);
    }
  }
  EXPECT_EQ(streamed, whole);
}

TEST(CompletionTest, GivesTokensBesideText) {
  const Door door;
  json request = {{"prompt", "abc"}, {"max_tokens", 2}, {"return_token_ids", true}};
  const json choice = Complete(door, request)["choices"][0];
  EXPECT_THAT(choice["prompt_token_ids"], ElementsAre('a', 'b', 'c'));
  EXPECT_EQ(choice["token_ids"].size(), 2);
  EXPECT_THAT(Stream(door, request).front()["choices"][0]["prompt_token_ids"],
              ElementsAre('a', 'b', 'c'));
}

}  // namespace
}  // namespace fmaserver::testing
