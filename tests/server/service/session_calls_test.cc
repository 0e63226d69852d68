#include "server/service/session_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/access/token_file.h"
#include "tests/server/service/service_fixture.h"

namespace fmaserver::testing {
namespace {

using service::SessionCalls;
using ::testing::HasSubstr;

std::string Entry(const std::string& tenant, const std::string& limits) {
  const access::TokenDigest digest = access::DigestOf(tenant);
  return absl::StrCat(tenant, " ",
                      absl::BytesToHexString(absl::string_view(
                          reinterpret_cast<const char*>(digest.data()), digest.size())),
                      " ", limits, "\n");
}

class SessionCallsTest : public ::testing::Test {
 protected:
  TestService service_{{.tokens = Entry("alice", "sessions=3") + Entry("bob", "")}};
  const std::shared_ptr<service::Call> alice_ =
      service_.Begin(service::kCreateSession, "Bearer alice");
  const std::shared_ptr<service::Call> bob_ = service_.Begin(service::kCreateSession, "Bearer bob");
};

TEST_F(SessionCallsTest, ATenantHasSoManySessionsAndNoMore) {
  SessionCalls alice(service_.sessions(), *alice_);
  ASSERT_TRUE(alice.Create("one", {}).ok());
  const auto too_many = alice.Fork("one", 3);
  EXPECT_EQ(too_many.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(too_many.status().message()),
              HasSubstr("tenant \"alice\": number of sessions is 4; allowed: up to 3"));
  ASSERT_TRUE(alice.Fork("one", 2).ok());
  EXPECT_EQ(alice.Create("more", {}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(alice.Import("more", {}).status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(alice.Delete("one").ok());
  EXPECT_TRUE(alice.Create("more", {}).ok());
}

TEST_F(SessionCallsTest, TenantsDoNotSeeEachOther) {
  SessionCalls alice(service_.sessions(), *alice_);
  SessionCalls bob(service_.sessions(), *bob_);
  ASSERT_TRUE(alice.Create("talk", {}).ok());
  EXPECT_EQ(bob.Get("talk").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(bob.Delete("talk").code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(bob.List("", std::nullopt)->sessions.empty());
  EXPECT_TRUE(bob.Create("talk", {}).ok());
}

TEST_F(SessionCallsTest, PagesHaveASizeInRange) {
  SessionCalls alice(service_.sessions(), *alice_);
  for (const int64_t size : {int64_t{-1}, int64_t{0}, int64_t{1001}, int64_t{1} << 62}) {
    EXPECT_EQ(alice.List("", size).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(alice.List("", 1000).ok());
}

}  // namespace
}  // namespace fmaserver::testing
