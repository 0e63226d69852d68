#include "server/log/call_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"

namespace fmaserver::log {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

service::CallReport Report() {
  service::CallReport report;
  report.request_id = "r-1";
  report.tenant = "alice";
  report.method = "Generate";
  report.model = "books";
  report.peer = "ipv4:127.0.0.1:5";
  report.status = absl::InvalidArgumentError("bad \"thing\"\nhere");
  report.usage.prompt_tokens = 7;
  report.usage.generated_tokens = 9;
  report.seconds = 0.5;
  return report;
}

TEST(CallLog, TextIsOneLine) {
  const std::string line = CallLog::Line(Report(), LogFormat::kText);
  EXPECT_THAT(line, HasSubstr("request=r-1 method=Generate model=books tenant=alice"));
  EXPECT_THAT(line, HasSubstr("code=INVALID_ARGUMENT"));
  EXPECT_THAT(line, HasSubstr("prompt_tokens=7"));
  EXPECT_THAT(line, HasSubstr(R"(error="bad \"thing\"\nhere")"));
  EXPECT_THAT(line, Not(HasSubstr("\n")));
}

TEST(CallLog, JsonHoldsWhatTheTextHolds) {
  const auto json =
      nlohmann::json::parse(absl::StrCat("{", CallLog::Line(Report(), LogFormat::kJson), "}"));
  EXPECT_EQ(json["request"], "r-1");
  EXPECT_EQ(json["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(json["error"], "bad \"thing\"\nhere");
  EXPECT_EQ(json["generated_tokens"], 9);
  EXPECT_EQ(json["model"], "books");
  EXPECT_FALSE(json.contains("cache_miss"));
  EXPECT_FALSE(json.contains("prompt"));
  EXPECT_FALSE(json.contains("traceparent"));
}

TEST(CallLog, ATracedCallHasTheIdsOfItsSpan) {
  service::CallReport report = Report();
  report.trace = std::make_shared<service::CallTrace>();
  report.trace->trace_id = std::string(15, '\0') + "\x1f";
  report.trace->span_id = "abcdefgh";
  EXPECT_THAT(CallLog::Line(report, LogFormat::kText),
              HasSubstr(" trace_id=0000000000000000000000000000001f span_id=6162636465666768"));
}

TEST(CallLog, TellsWhyNothingOfAPromptWasCached) {
  service::CallReport report = Report();
  report.usage.cache_miss = engine::CacheMiss::kNotKept;
  EXPECT_THAT(CallLog::Line(report, LogFormat::kText), HasSubstr(" cache_miss=not_kept "));
}

TEST(CallLog, AnyBytesOfAPromptStayOnOneLine) {
  std::mt19937 random(2);
  for (int i = 0; i < 500; ++i) {
    service::CallReport report = Report();
    for (int k = 0; k < 20; ++k) report.prompt += static_cast<char>(random());
    for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
      EXPECT_THAT(CallLog::Line(report, format), Not(HasSubstr("\n")));
    }
    EXPECT_TRUE(
        nlohmann::json::accept(absl::StrCat("{", CallLog::Line(report, LogFormat::kJson), "}")));
  }
}

}  // namespace
}  // namespace fmaserver::log
