#include "server/log/call_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/rpc/call_metadata.h"

namespace fmaserver::log {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

rpc::CallReport Report() {
  rpc::CallReport report;
  report.request_id = "r-1";
  report.tenant = "alice";
  report.method = "Generate";
  report.peer = "ipv4:127.0.0.1:5";
  report.status = absl::InvalidArgumentError("bad \"thing\"\nhere");
  report.usage.prompt_tokens = 7;
  report.usage.generated_tokens = 9;
  report.seconds = 0.5;
  return report;
}

TEST(CallLog, TextIsOneLine) {
  const std::string line = CallLog::Line(Report(), LogFormat::kText);
  EXPECT_THAT(line, HasSubstr("request=r-1 method=Generate tenant=alice"));
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
  EXPECT_FALSE(json.contains("prompt"));
  EXPECT_FALSE(json.contains("traceparent"));
}

TEST(CallLog, AnyBytesOfAPromptStayOnOneLine) {
  std::mt19937 random(2);
  for (int i = 0; i < 500; ++i) {
    rpc::CallReport report = Report();
    for (int k = 0; k < 20; ++k) report.prompt += static_cast<char>(random());
    for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
      EXPECT_THAT(CallLog::Line(report, format), Not(HasSubstr("\n")));
    }
    EXPECT_TRUE(
        nlohmann::json::accept(absl::StrCat("{", CallLog::Line(report, LogFormat::kJson), "}")));
  }
}

TEST(rpc::CallMetadata, TraceparentAsTheStandardSays) {
  const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EXPECT_TRUE(rpc::IsTraceparent(good));
  EXPECT_TRUE(rpc::IsTraceparent(absl::StrCat("cc", good.substr(2), "-what-comes-later")));
  for (const std::string& bad :
       {std::string(), good.substr(1), good + "-01", good + "0", absl::StrCat("ff", good.substr(2)),
        std::string("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        std::string("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"),
        std::string("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"),
        absl::StrCat("cc", good.substr(2), "-", std::string(300, 'a')),
        absl::StrCat("cc", good.substr(2), ".x")}) {
    EXPECT_FALSE(rpc::IsTraceparent(bad)) << bad;
  }
}

TEST(rpc::CallMetadata, RequestIdsAreSafeToLog) {
  EXPECT_TRUE(rpc::IsRequestId("7f3a-b.c_d:e/f+g="));
  for (const std::string& bad : {std::string(), std::string("a b"), std::string("a\nb"),
                                 std::string("\""), std::string(129, 'a')}) {
    EXPECT_FALSE(rpc::IsRequestId(bad)) << bad;
  }
}

}  // namespace
}  // namespace fmaserver::log
