#include "server/openai/origin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fmaserver::openai {
namespace {

using ::testing::HasSubstr;

TEST(OriginTest, ProgramsAndThePageOfThisServerMayAsk) {
  EXPECT_EQ(ForeignPage({}), "");
  EXPECT_EQ(ForeignPage({.host = "here:8000"}), "");
  EXPECT_EQ(ForeignPage({.site = "same-origin", .origin = "https://public.example"}), "");
  EXPECT_EQ(ForeignPage({.site = "none"}), "");
  EXPECT_EQ(ForeignPage({.origin = "http://Here:8000", .host = "here:8000"}), "");
  EXPECT_EQ(ForeignPage({.origin = "http://public.example",
                         .host = "inside:8000",
                         .forwarded_host = "public.example"}),
            "");
}

TEST(OriginTest, OtherPagesMayNot) {
  EXPECT_THAT(ForeignPage({.site = "cross-site", .host = "here:8000"}),
              HasSubstr(R"(Sec-Fetch-Site is "cross-site"; allowed: )"));
  EXPECT_NE(ForeignPage({.site = "same-site"}), "");
  EXPECT_THAT(ForeignPage({.origin = "http://evil.example", .host = "here:8000"}),
              HasSubstr(R"(Origin is "http://evil.example"; allowed: )"));
  EXPECT_NE(ForeignPage({.origin = "null"}), "");
  EXPECT_NE(ForeignPage({.origin = "http://", .forwarded_host = ""}), "");
  EXPECT_NE(ForeignPage({.origin = "http://here:8000.evil.example", .host = "here:8000"}), "");
}

}  // namespace
}  // namespace fmaserver::openai
