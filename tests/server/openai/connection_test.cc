// What a connection takes, refuses and survives, over real sockets.
#include "server/openai/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/text.h"
#include "tests/server/openai/door_fixture.h"
#include "tests/server/openai/http_client.h"

namespace fmaserver::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr char kShort[] = R"({"prompt": "abc", "max_tokens": 3, "seed": 1})";

TEST(ConnectionTest, AnswersRequestsOfOneConnectionOneAfterTheOther) {
  const Door door;
  HttpClient client(door.port());
  for (int i = 0; i < 3; ++i) {
    client.Ask("POST", "/v1/completions", kShort);
    const HttpAnswer answer = client.Receive();
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.headers.at("connection"), "keep-alive");
  }
}

TEST(ConnectionTest, AnswersRequestsThatCameTogetherInTheirOrder) {
  const Door door;
  HttpClient client(door.port());
  const std::string body = kShort;
  const std::string ask =
      Concat("POST /v1/completions HTTP/1.1\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
  client.Send(Concat("GET /version HTTP/1.1\r\n\r\n", ask, "GET /health HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(client.Receive().body, HasSubstr("version"));
  EXPECT_THAT(client.Receive().body, HasSubstr("text_completion"));
  EXPECT_EQ(client.Receive().body, "{}");
}

TEST(ConnectionTest, TakesBodiesInChunks) {
  const Door door;
  HttpClient client(door.port());
  client.Send(
      "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
      "c\r\n{\"prompt\": \"\r\n15\r\nabc\", \"max_tokens\":1}\r\n0\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 200);
}

TEST(ConnectionTest, AsksForABodyThatWaits) {
  const Door door;
  HttpClient client(door.port());
  client.Send(Concat("POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: ",
                     sizeof kShort - 1, "\r\n\r\n"));
  EXPECT_EQ(client.Receive().status, 100);
  client.Send(kShort);
  EXPECT_EQ(client.Receive().status, 200);
}

TEST(ConnectionTest, DoesNotAskForABodyThatItRefuses) {
  const Door door;
  HttpClient client(door.port());
  client.Send("POST /nothing HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 404);
  EXPECT_TRUE(client.IsClosed());
}

TEST(ConnectionTest, KnowsPathsAndMethods) {
  const Door door;
  EXPECT_EQ(Get(door.port(), "/nothing").status, 404);
  const HttpAnswer answer = Get(door.port(), "/v1/completions?x=1");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.headers.at("allow"), "POST");
  EXPECT_EQ(Get(door.port(), "/v1/models?limit=3").status, 200);
  EXPECT_EQ(Get(door.port(), "/v1/models/test").status, 200);
  EXPECT_EQ(Get(door.port(), "/v1/models/other").status, 404);
}

TEST(ConnectionTest, AnswersAHeadWithoutItsBody) {
  const Door door;
  HttpClient client(door.port());
  const std::string page = Get(door.port(), "/").body;
  client.Send("HEAD / HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(client.AwaitText(Concat("Content-Length: ", page.size(), "\r\n\r\nHTTP/1.1 200 OK")));
  EXPECT_TRUE(client.AwaitText("{}"));
}

TEST(ConnectionTest, RefusesThePagesOfOthers) {
  const Door door;
  HttpClient client(door.port());
  for (const auto& [headers, status] :
       {std::pair("Sec-Fetch-Site: cross-site\r\n", 403),
        {"Origin: http://evil.example\r\n", 403},
        {"Sec-Fetch-Site: same-origin\r\nOrigin: https://public.example\r\n", 200}}) {
    client.Ask("POST", "/v1/completions", kShort, headers);
    EXPECT_EQ(client.Receive().status, status) << headers;
  }
  // A link to the page is no request of a page.
  client.Ask("GET", "/", "", "Sec-Fetch-Site: cross-site\r\n");
  EXPECT_EQ(client.Receive().status, 200);
}

TEST(ConnectionTest, RefusesWhatIsNoRequest) {
  const Door door;
  for (const char* bytes :
       {"\x16\x03\x01\x02", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    HttpClient client(door.port());
    client.Send(Concat(bytes, "\r\n\r\n"));
    EXPECT_EQ(client.Receive().status, 400) << bytes;
    EXPECT_TRUE(client.IsClosed());
  }
}

TEST(ConnectionTest, RefusesLongHeadsAndBodies) {
  DoorOptions options;
  options.policy.limits.request_bytes = 1000;
  const Door door(std::move(options));
  HttpClient head(door.port());
  head.Send(Concat("GET /health HTTP/1.1\r\nX: ", std::string(20'000, 'x'), "\r\n\r\n"));
  EXPECT_EQ(head.Receive().status, 431);
  HttpClient announced(door.port());
  announced.Ask("POST", "/v1/completions", std::string(1001, ' '));
  EXPECT_EQ(announced.Receive().status, 413);
  HttpClient chunked(door.port());
  chunked.Send(Concat("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n",
                      std::string(2000, ' ')));
  EXPECT_EQ(chunked.Receive().status, 413);
}

TEST(ConnectionTest, RefusesCompressedBodies) {
  const Door door;
  HttpClient client(door.port());
  client.Ask("POST", "/v1/completions", kShort, "Content-Encoding: gzip\r\n");
  EXPECT_EQ(client.Receive().status, 415);
  client.Ask("POST", "/v1/completions", kShort, "Content-Encoding: identity\r\n");
  EXPECT_EQ(client.Receive().status, 200);
}

TEST(ConnectionTest, EndsConnectionsOfSlowSenders) {
  DoorOptions options;
  options.patience.first = options.patience.head = options.patience.body = milliseconds(50);
  const Door door(std::move(options));
  HttpClient silent(door.port());
  HttpClient head(door.port());
  head.Send("GET /hea");
  HttpClient body(door.port());
  body.Send("POST /v1/completions HTTP/1.1\r\nContent-Length: 50\r\n\r\n{");
  EXPECT_TRUE(silent.IsClosed());
  EXPECT_TRUE(head.IsClosed());
  EXPECT_TRUE(body.IsClosed());
}

TEST(ConnectionTest, EndsIdleConnections) {
  DoorOptions options;
  options.door.max_connection_idle_seconds = 0.05;
  const Door door(std::move(options));
  HttpClient client(door.port());
  client.Ask("GET", "/health");
  EXPECT_EQ(client.Receive().status, 200);
  EXPECT_TRUE(client.IsClosed());
}

TEST(ConnectionTest, OldHttpGetsAStreamUntilTheConnectionEnds) {
  const Door door;
  HttpClient client(door.port());
  const std::string body = R"({"prompt": "abc", "max_tokens": 3, "stream": true})";
  client.Send(
      Concat("POST /v1/completions HTTP/1.0\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
  const HttpAnswer answer = client.Receive();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.count("transfer-encoding"), 0);
  EXPECT_THAT(answer.body, HasSubstr("data: [DONE]\n\n"));
}

TEST(ConnectionTest, AClientThatLeavesFreesItsSlot) {
  Door door;
  for (const char* stream : {"true", "false"}) {
    HttpClient client(door.port());
    client.Ask(
        "POST", "/v1/completions",
        Concat(R"({"prompt": "abc", "max_tokens": 100000000, "ignore_eos": true, "stream": )",
               stream, "}"));
    EXPECT_TRUE(Eventually([&] { return door.engine().Load().running == 1; }));
    client.Close();
    EXPECT_TRUE(Eventually([&] { return door.engine().Load().running == 0; }));
  }
}

TEST(ConnectionTest, AReaderThatStopsReadingStopsItsRequest) {
  DoorOptions options;
  options.patience.write = milliseconds(100);
  Door door(std::move(options));
  HttpClient client(door.port());
  client.Ask("POST", "/v1/completions",
             R"({"prompt": "abc", "max_tokens": 100000000, "ignore_eos": true, "stream": true,
                  "logprobs": 50})");
  EXPECT_TRUE(client.AwaitText("data: "));
  EXPECT_TRUE(Eventually([&] { return door.engine().Load().running == 0; }));
}

TEST(ConnectionTest, DrainingAnswersAreTheLastOnes) {
  Door door;
  HttpClient client(door.port());
  client.Ask("GET", "/health");
  EXPECT_EQ(client.Receive().status, 200);
  door.server().Drain();
  client.Ask("GET", "/health");
  const HttpAnswer answer = client.Receive();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(client.IsClosed());
}

TEST(ConnectionTest, ShutdownLetsAnAnswerEndAndClosesIdleConnections) {
  Door door;
  HttpClient idle(door.port());
  idle.Ask("GET", "/health");
  EXPECT_EQ(idle.Receive().status, 200);
  HttpClient busy(door.port());
  busy.Ask("POST", "/v1/completions",
           R"({"prompt": "abc", "max_tokens": 2000, "ignore_eos": true, "stream": true})");
  EXPECT_TRUE(busy.AwaitText("data: "));
  door.server().Shutdown(absl::Seconds(60));
  const HttpAnswer answer = busy.Receive();
  EXPECT_TRUE(answer.complete);
  EXPECT_THAT(answer.body, HasSubstr("data: [DONE]\n\n"));
  EXPECT_TRUE(idle.IsClosed());
}

}  // namespace
}  // namespace fmaserver::testing
