// Responses over real sockets: what each id means, whole and streamed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/text.h"
#include "nlohmann/json.hpp"
#include "tests/server/openai/door_fixture.h"
#include "tests/server/openai/http_client.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kResponses[] = "/v1/responses";

json Plus(json request, const json& more) {
  request.update(more);
  return request;
}

const json kAsk = {{"input", "One?"},
                   {"max_output_tokens", 8},
                   {"seed", 7},
                   {"ignore_eos", true},
                   {"temperature", 0.7}};

json BodyOf(const HttpAnswer& answer, int status = 200) {
  EXPECT_EQ(answer.status, status) << answer.body;
  return json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
}

json Respond(const Door& door, const json& more = json::object()) {
  return BodyOf(Post(door.port(), kResponses, Plus(kAsk, more).dump()));
}

std::string PathOf(const json& response) {
  return Concat(kResponses, "/", response["id"].get<std::string>());
}

std::string TextOf(const json& response) { return response["output"][0]["content"][0]["text"]; }

struct ResponseEvent {
  std::string type;
  json data;
};

std::vector<ResponseEvent> StreamOf(const Door& door, const json& more = json::object()) {
  const json request = Plus(Plus(kAsk, {{"stream", true}}), more);
  const HttpAnswer answer = Post(door.port(), kResponses, request.dump());
  EXPECT_EQ(answer.headers.at("content-type"), "text/event-stream; charset=utf-8") << answer.body;
  EXPECT_TRUE(answer.complete);
  std::vector<ResponseEvent> events;
  size_t begin = 0;
  for (size_t end = 0; (end = answer.body.find("\n\n", begin)) != std::string::npos;
       begin = end + 2) {
    const std::string event = answer.body.substr(begin, end - begin);
    const size_t line = event.find("\ndata: ");
    if (!event.starts_with("event: ") || line == std::string::npos) continue;
    events.push_back({event.substr(7, line - 7), json::parse(event.substr(line + 7))});
  }
  return events;
}

TEST(ResponseTest, AnswersInTheShapeThatClientsKnow) {
  const Door door(ChatDoor());
  const json response = Respond(door, {{"metadata", {{"a", "b"}}}, {"user", "me"}});
  EXPECT_TRUE(response["id"].get<std::string>().starts_with("resp_"));
  EXPECT_EQ(response["object"], "response");
  EXPECT_EQ(response["model"], "test");
  EXPECT_EQ(response["status"], "incomplete");
  EXPECT_EQ(response["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(response["error"], nullptr);
  EXPECT_EQ(response["metadata"], json({{"a", "b"}}));
  EXPECT_EQ(response["user"], "me");
  EXPECT_EQ(response["temperature"], 0.7);
  EXPECT_EQ(response["previous_response_id"], nullptr);
  const json& message = response["output"][0];
  EXPECT_EQ(message["type"], "message");
  EXPECT_EQ(message["role"], "assistant");
  EXPECT_EQ(message["content"][0]["type"], "output_text");
  EXPECT_FALSE(TextOf(response).empty());
  const json& usage = response["usage"];
  EXPECT_EQ(usage["output_tokens"], 8);
  EXPECT_EQ(usage["input_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(usage["input_tokens_details"]["cache_write_tokens"], usage["input_tokens"]);
  EXPECT_EQ(usage["total_tokens"].get<int>(), usage["input_tokens"].get<int>() + 8);
  EXPECT_EQ(BodyOf(Get(door.port(), PathOf(response))), response) << "as it was answered";
}

TEST(ResponseTest, AStreamSaysWhatAWholeAnswerSays) {
  const Door door(ChatDoor());
  const std::vector<ResponseEvent> events = StreamOf(door);
  std::vector<std::string> types;
  std::string text;
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].data["type"], events[i].type);
    EXPECT_EQ(events[i].data["sequence_number"], i);
    if (events[i].type == "response.output_text.delta") text += events[i].data["delta"];
    if (types.empty() || types.back() != events[i].type) types.push_back(events[i].type);
  }
  EXPECT_THAT(types,
              ElementsAre("response.created", "response.in_progress", "response.output_item.added",
                          "response.content_part.added", "response.output_text.delta",
                          "response.output_text.done", "response.content_part.done",
                          "response.output_item.done", "response.incomplete"));
  const json created = events.front().data["response"];
  EXPECT_EQ(created["status"], "in_progress");
  EXPECT_EQ(created["output"], json::array());
  const json last = events.back().data["response"];
  EXPECT_EQ(last["id"], created["id"]);
  EXPECT_EQ(TextOf(last), text);
  EXPECT_EQ(TextOf(Respond(door)), text);
  EXPECT_EQ(BodyOf(Get(door.port(), PathOf(last))), last);
}

TEST(ResponseTest, AModelThatEndsItsTextCompletes) {
  const Door door(ChatDoor());
  const int32_t end = ChatModelConfig().eos_token_ids.front();
  const json response =
      Respond(door, {{"ignore_eos", false}, {"allowed_token_ids", {end}}, {"temperature", 0}});
  EXPECT_EQ(response["status"], "completed");
  EXPECT_EQ(response["incomplete_details"], nullptr);
  EXPECT_EQ(TextOf(response), "");
  const auto events =
      StreamOf(door, {{"ignore_eos", false}, {"allowed_token_ids", {end}}, {"temperature", 0}});
  EXPECT_EQ(events.front().type, "response.created");
  EXPECT_EQ(events.back().type, "response.completed");
}

// An id means the state right behind its answer, whatever else goes on from it.
TEST(ResponseTest, EachIdIsAStateThatAnyNumberGoOnFrom) {
  const Door door(ChatDoor());
  const json first = Respond(door);
  const auto follow = [&](const json& response, const char* input) {
    return Respond(door, {{"input", input}, {"previous_response_id", response["id"]}});
  };
  const json second = follow(first, "Two?");
  const json other = follow(first, "Other?");
  const json third = follow(second, "Three?");
  EXPECT_EQ(TextOf(follow(first, "Two?")), TextOf(second));
  EXPECT_EQ(TextOf(follow(second, "Three?")), TextOf(third));
  EXPECT_EQ(second["previous_response_id"], first["id"]);

  EXPECT_EQ(BodyOf(Delete(door.port(), PathOf(first))),
            json({{"id", first["id"]}, {"object", "response"}, {"deleted", true}}));
  EXPECT_EQ(TextOf(follow(second, "Three?")), TextOf(third)) << "what came of it lives on";
  BodyOf(Get(door.port(), PathOf(first)), 404);
}

TEST(ResponseTest, TheWholeConversationAtOnceHasTheSameAnswer) {
  const Door door(ChatDoor());
  const json one = Respond(
      door, {{"max_output_tokens", 1}, {"allowed_token_ids", *ChatTokenizer()->Encode("a")}});
  const json two = Respond(door, {{"input", "Two?"}, {"previous_response_id", one["id"]}});
  const json messages = {{{"role", "user"}, {"content", "One?"}},
                         {{"role", "assistant"}, {"content", "a"}},
                         {{"role", "user"}, {"content", "Two?"}}};
  const json whole = Respond(door, {{"input", messages}});
  EXPECT_EQ(TextOf(whole), TextOf(two));
  EXPECT_EQ(whole["usage"]["input_tokens"], two["usage"]["input_tokens"]);
}

TEST(ResponseTest, OnlyTheNewMessagesAreRead) {
  const Door door(ChatDoor());
  const auto read = [](const json& response) {
    const json& details = response["usage"]["input_tokens_details"];
    const int read =
        response["usage"]["input_tokens"].get<int>() - details["cached_tokens"].get<int>();
    EXPECT_EQ(details["cache_write_tokens"], read);
    return read;
  };
  json last = Respond(door, {{"instructions", "Be brief."}});
  int second = 0;
  for (int turn = 2; turn <= 200; ++turn) {
    const int before = last["usage"]["total_tokens"];
    last = Respond(door, {{"previous_response_id", last["id"]}, {"instructions", "Be brief."}});
    if (turn == 2) second = read(last);
    ASSERT_EQ(read(last), second) << turn;
    ASSERT_EQ(last["usage"]["input_tokens_details"]["cached_tokens"], before - 1) << turn;
  }
  EXPECT_GT(last["usage"]["input_tokens"], 100 * second);
  EXPECT_EQ(last["instructions"], "Be brief.");
}

TEST(ResponseTest, ContinuationsOfOneIdRunAtOnce) {
  Door door(ChatDoor());
  const json first = Respond(door);
  const json request = Plus(kAsk, {{"input", "Two?"}, {"previous_response_id", first["id"]}});
  std::vector<HttpClient> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back(door.port());
    clients.back().Ask("POST", kResponses, Plus(request, {{"seed", i % 2}}).dump());
  }
  std::vector<json> answers;
  for (HttpClient& client : clients) answers.push_back(BodyOf(client.Receive()));
  for (int i = 2; i < 8; ++i) {
    EXPECT_EQ(TextOf(answers[i]), TextOf(answers[i % 2]));
    EXPECT_NE(answers[i]["id"], answers[i % 2]["id"]);
  }
}

TEST(ResponseTest, WhatIsNotStoredIsNotKept) {
  Door door(ChatDoor());
  const json first = Respond(door);
  const json follow = {{"input", "Two?"}, {"previous_response_id", first["id"]}};
  const json unkept = Respond(door, Plus(follow, {{"store", false}}));
  EXPECT_EQ(unkept["store"], false);
  EXPECT_EQ(unkept["usage"]["input_tokens_details"]["cache_write_tokens"], 0);
  EXPECT_EQ(TextOf(unkept), TextOf(Respond(door, follow)));
  BodyOf(Get(door.port(), PathOf(unkept)), 404);
  EXPECT_EQ(StreamOf(door, {{"store", false}}).back().type, "response.incomplete");
  EXPECT_EQ(door.sessions().CountOf(kDefaultTenant), 2);
}

TEST(ResponseTest, AnUnknownIdIsNamed) {
  Door door(ChatDoor());
  Require(door.sessions().Create({kDefaultTenant, "resp_mine"}, {}).status());
  const json gone = Respond(door);
  BodyOf(Delete(door.port(), PathOf(gone)));
  for (const std::string& id : std::vector<std::string>{gone["id"], "resp_nobody", "resp_mine",
                                                        "talk", "resp_a/b", "../x"}) {
    const json error =
        BodyOf(Post(door.port(), kResponses, Plus(kAsk, {{"previous_response_id", id}}).dump()),
               404)["error"];
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr(id));
    EXPECT_EQ(error["param"], "previous_response_id");
    EXPECT_EQ(error["code"], "previous_response_not_found");
    EXPECT_EQ(error["type"], "invalid_request_error");
    for (const HttpAnswer& answer : {Get(door.port(), Concat(kResponses, "/", id)),
                                     Delete(door.port(), Concat(kResponses, "/", id))}) {
      EXPECT_THAT(BodyOf(answer, 404)["error"]["message"].get<std::string>(), HasSubstr(id));
    }
  }
  EXPECT_TRUE(door.sessions().Get({kDefaultTenant, "resp_mine"}).ok())
      << "a session that is no response stays";
}

// A call of the native API makes another text of it.
TEST(ResponseTest, AnIdWhoseSessionIsChangedMeansNothingAnyMore) {
  Door door(ChatDoor());
  const json response = Respond(door);
  const sessions::SessionName name{kDefaultTenant, response["id"]};
  Require(door.sessions().Rewind(name, door.sessions().Get(name)->tokens - 2).status());
  BodyOf(Get(door.port(), PathOf(response)), 404);
}

TEST(ResponseTest, WhatOthersHaveBesideIsNamed) {
  Door door(ChatDoor());
  const std::string path = PathOf(Respond(door));
  for (const HttpAnswer& answer :
       {Post(door.port(), path + "/cancel", "{}"), Get(door.port(), path + "/input_items")}) {
    EXPECT_THAT(BodyOf(answer, 404)["error"]["message"].get<std::string>(), HasSubstr(path));
  }
  EXPECT_EQ(Get(door.port(), kResponses).status, 405);
}

TEST(ResponseTest, WhoLeavesLeavesNoIdBehind) {
  Door door(ChatDoor());
  {
    HttpClient client(door.port());
    client.Ask("POST", kResponses,
               Plus(kAsk, {{"stream", true}, {"max_output_tokens", 100'000'000}}).dump());
    ASSERT_TRUE(client.AwaitText("response.output_text.delta"));
  }
  EXPECT_TRUE(
      Eventually([&] { return door.engine().FreeSlots() == engine::EngineOptions().num_slots; }));
  door.service().AwaitCalls();
  EXPECT_EQ(door.sessions().CountOf(kDefaultTenant), 0);
}

TEST(ResponseTest, WhatFailsInAStreamSaysSo) {
  DoorOptions options = ChatDoor();
  options.policy.limits.answer_bytes = 200;
  Door door(std::move(options));
  const auto events = StreamOf(door, {{"max_output_tokens", 1000}});
  EXPECT_EQ(events.front().type, "response.created");
  EXPECT_EQ(events.back().type, "response.failed");
  const json response = events.back().data["response"];
  EXPECT_EQ(response["status"], "failed");
  EXPECT_THAT(response["error"]["message"].get<std::string>(), HasSubstr("200 bytes"));
  BodyOf(Get(door.port(), PathOf(response)), 404);
  const json error =
      BodyOf(Post(door.port(), kResponses, Plus(kAsk, {{"max_output_tokens", 1000}}).dump()),
             400)["error"];
  EXPECT_EQ(error["param"], "answer");
  // What is refused before it begins is no stream.
  const json request = Plus(kAsk, {{"stream", true}, {"temperature", -1}});
  EXPECT_EQ(BodyOf(Post(door.port(), kResponses, request.dump()), 400)["error"]["param"],
            "temperature");
}

TEST(ResponseTest, TenantsDoNotSeeEachOther) {
  DoorOptions options = ChatDoor();
  // The digests of the tokens "alice" and "bob".
  options.policy.access = AccessOf(
      "alice 2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90\n"
      "bob 81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9\n");
  Door door(std::move(options));
  const auto ask = [&](const char* tenant, const char* method, const std::string& path,
                       const json& body = nullptr) {
    HttpClient client(door.port());
    client.Ask(method, path, body.is_null() ? "" : body.dump(),
               Concat("Authorization: Bearer ", tenant, "\r\n"));
    return client.Receive();
  };
  const json response = BodyOf(ask("alice", "POST", kResponses, kAsk));
  const json follow = Plus(kAsk, {{"previous_response_id", response["id"]}});
  EXPECT_EQ(ask("bob", "GET", PathOf(response)).status, 404);
  EXPECT_EQ(ask("bob", "DELETE", PathOf(response)).status, 404);
  EXPECT_EQ(ask("bob", "POST", kResponses, follow).status, 404);
  EXPECT_EQ(ask("nobody", "GET", PathOf(response)).status, 401);
  EXPECT_EQ(ask("alice", "GET", PathOf(response)).status, 200);
  EXPECT_EQ(ask("alice", "POST", kResponses, follow).status, 200);
}

TEST(ResponseTest, IdsOutliveTheServer) {
  const TempFolder folder;
  const auto open = [&] {
    DoorOptions options = ChatDoor();
    options.sessions.dir = folder.path() / "sessions";
    return options;
  };
  json first;
  json second;
  const json follow = {{"input", "Two?"}};
  {
    const Door door(open());
    first = Respond(door);
    second = Respond(door, Plus(follow, {{"previous_response_id", first["id"]}}));
  }
  const Door door(open());
  EXPECT_EQ(BodyOf(Get(door.port(), PathOf(first))), first);
  const json again = Respond(door, Plus(follow, {{"previous_response_id", first["id"]}}));
  EXPECT_EQ(TextOf(again), TextOf(second));
  EXPECT_EQ(again["usage"], second["usage"]);
}

TEST(ResponseTest, AModelWithoutATemplateSaysSo) {
  const Door door;
  const json error = BodyOf(Post(door.port(), kResponses, kAsk.dump()), 400)["error"];
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("chat template"));
}

TEST(ResponseTest, IgnoredFieldsAreNamed) {
  const Door door(ChatDoor());
  const HttpAnswer answer =
      Post(door.port(), kResponses, Plus(kAsk, {{"service_tier", "auto"}}).dump());
  EXPECT_EQ(answer.headers.at("x-fma-ignored-fields"), "service_tier");
}

}  // namespace
}  // namespace fmaserver::testing
