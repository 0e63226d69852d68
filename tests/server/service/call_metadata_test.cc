#include "server/service/call_metadata.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace fmaserver::testing {
namespace {

TEST(CallMetadata, TraceparentAsTheStandardSays) {
  const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EXPECT_TRUE(service::IsTraceparent(good));
  EXPECT_TRUE(service::IsTraceparent(absl::StrCat("cc", good.substr(2), "-what-comes-later")));
  for (const std::string& bad :
       {std::string(), good.substr(1), good + "-01", good + "0", absl::StrCat("ff", good.substr(2)),
        std::string("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        std::string("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"),
        std::string("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"),
        absl::StrCat("cc", good.substr(2), "-", std::string(300, 'a')),
        absl::StrCat("cc", good.substr(2), ".x")}) {
    EXPECT_FALSE(service::IsTraceparent(bad)) << bad;
  }
}

TEST(CallMetadata, RequestIdsAreSafeToLog) {
  EXPECT_TRUE(service::IsRequestId("7f3a-b.c_d:e/f+g="));
  for (const std::string& bad : {std::string(), std::string("a b"), std::string("a\nb"),
                                 std::string("\""), std::string(129, 'a')}) {
    EXPECT_FALSE(service::IsRequestId(bad)) << bad;
  }
}

}  // namespace
}  // namespace fmaserver::testing
