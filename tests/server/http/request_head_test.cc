#include "server/http/request_head.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace fmaserver::http {
namespace {

TEST(RequestHead, ReadsMethodAndPath) {
  const RequestHead get = ParseRequestHead("GET /metrics?name=x HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(get.error, 0);
  EXPECT_EQ(get.path, "/metrics");
  EXPECT_FALSE(get.head_only);
  EXPECT_TRUE(ParseRequestHead("HEAD / HTTP/1.0\n\n").head_only);
}

TEST(RequestHead, TargetsMayBeWholeUrls) {
  const auto path = [](const std::string& target) {
    return ParseRequestHead("GET " + target + " HTTP/1.1\r\n\r\n").path;
  };
  EXPECT_EQ(path("http://host/livez"), "/livez");
  EXPECT_EQ(path("http://host:8080/livez?probe=1"), "/livez");
  EXPECT_EQ(path("HTTPS://[::1]/livez"), "/livez");
  EXPECT_EQ(path("http://host"), "/");
  EXPECT_EQ(path("http://host?x"), "/");
  for (const char* none :
       {"http://", "http:///livez", "http://?x", "ftp://host/livez", "host/livez"}) {
    EXPECT_EQ(path(none), "") << none;
  }
}

TEST(RequestHead, RefusesWhatIsNoRequest) {
  for (const char* head : {"", "\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/2.0\r\n\r\n",
                           "GET metrics HTTP/1.1\r\n\r\n", "GET /a b HTTP/1.1\r\n\r\n",
                           "PRI * HTTP/2.0\r\n\r\n", "GET /\x01 HTTP/1.1\r\n\r\n"}) {
    EXPECT_EQ(ParseRequestHead(head).error, 400) << head;
  }
  EXPECT_EQ(ParseRequestHead("POST / HTTP/1.1\r\n\r\n").error, 405);
}

TEST(RequestHead, TakesAnyBytes) {
  std::mt19937 random(5);
  const std::string valid = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
  for (int i = 0; i < 20'000; ++i) {
    std::string head = valid;
    for (int changes = 0; changes < 4; ++changes) {
      head[random() % head.size()] = static_cast<char>(random());
    }
    const RequestHead parsed = ParseRequestHead(head);
    EXPECT_TRUE(parsed.error != 0 || parsed.path.starts_with('/'));
  }
}

TEST(Response, SaysItsLengthAndThatTheConnectionEnds) {
  const std::string bytes = SerializeResponse({.body = "abc"}, /*head_only=*/false);
  EXPECT_TRUE(bytes.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_NE(bytes.find("\r\nContent-Length: 3\r\n"), std::string::npos);
  EXPECT_NE(bytes.find("\r\nConnection: close\r\n"), std::string::npos);
  EXPECT_TRUE(bytes.ends_with("\r\n\r\nabc"));
  EXPECT_TRUE(SerializeResponse({.body = "abc"}, /*head_only=*/true).ends_with("\r\n\r\n"));
}

}  // namespace
}  // namespace fmaserver::http
