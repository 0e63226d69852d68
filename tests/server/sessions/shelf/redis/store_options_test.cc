// URLs and logins of stores, and refusals that repeat no secret.
#include "server/sessions/shelf/redis/store_options.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::sessions {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(StoreOptionsTest, UrlsAreRead) {
  const auto plain = ParseStoreUrl("store", "redis://a.example:6379");
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_FALSE(plain->tls);
  EXPECT_EQ(plain->host, "a.example");
  EXPECT_EQ(plain->port, 6379);
  EXPECT_EQ(plain->database, 0);
  const auto tls = ParseStoreUrl("store", "rediss://[::1]:7/15");
  ASSERT_TRUE(tls.ok()) << tls.status();
  EXPECT_TRUE(tls->tls);
  EXPECT_EQ(tls->host, "::1");
  EXPECT_EQ(tls->database, 15);
}

TEST(StoreOptionsTest, OtherUrlsAreRefused) {
  for (const char* url :
       {"", "redis:", "redis://", "redis://:1", "redis://a", "redis://a:0", "redis://a:1/x",
        "redis://a:1/-1", "redis://a:1/0/1", "http://a:1", "redis://a:99999", "a:1"}) {
    const auto address = ParseStoreUrl("store", url);
    EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument) << url;
    EXPECT_THAT(std::string(address.status().message()), HasSubstr("store")) << url;
  }
  const auto secret = ParseStoreUrl("store", "redis://me:hush@a:1");
  EXPECT_THAT(std::string(secret.status().message()), Not(HasSubstr("hush")));
}

TEST(StoreOptionsTest, LoginsAreALine) {
  const testing::TempFolder folder;
  const std::string file = folder.path() / "login";
  ASSERT_TRUE(testing::WriteFile(file, "fma a secret: with spaces\n"));
  const auto login = ReadStoreLogin(file);
  ASSERT_TRUE(login.ok()) << login.status();
  EXPECT_EQ(login->user, "fma");
  EXPECT_EQ(login->password, "a secret: with spaces");
  for (const char* text : {"", "hush", " hush", "hush ", "hush hush\nhush"}) {
    ASSERT_TRUE(testing::WriteFile(file, text));
    const auto refused = ReadStoreLogin(file);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(refused.status().message()), Not(HasSubstr("hush")));
  }
}

}  // namespace
}  // namespace fmaserver::sessions
