#include "server/access/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "base/retry.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::access {
namespace {

using ::testing::HasSubstr;

std::string Hex(const std::string& token) {
  const TokenDigest digest = DigestOf(token);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

double RetrySeconds(const absl::Status& status) {
  double seconds = -1;
  const auto payload = status.GetPayload(kRetryAfterSeconds);
  if (payload.has_value() && !absl::SimpleAtod(std::string(*payload), &seconds)) return -1;
  return seconds;
}

constexpr Clock::time_point kStart;

Clock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

TEST(TokenFile, DigestIsSha256) {
  // FIPS 180-2, appendix B.1.
  EXPECT_EQ(Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(TokenFile, ReadsEntries) {
  const auto entries = ParseTokenFile(
      absl::StrCat("# who may call\n\nalice ", Hex("a"), "\tconcurrent=3 sessions=7 # two\r\nbob ",
                   Hex("b"), "\nbob ", Hex("c"), "\n"),
      "f");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 3);
  EXPECT_EQ((*entries)[0].tenant, "alice");
  EXPECT_EQ((*entries)[0].limits,
            (TenantLimits{.concurrent = 3, .tokens_per_minute = 0, .sessions = 7}));
  EXPECT_EQ((*entries)[2].digest, DigestOf("c"));
}

TEST(TokenFile, ErrorsNameTheLineAndNoDigest) {
  const std::string good = absl::StrCat("alice ", Hex("a"), "\n");
  for (const std::string& bad :
       {std::string("alice"), std::string("alice 12ab"), absl::StrCat("al/ice ", Hex("b")),
        absl::StrCat("x ", Hex("a")), absl::StrCat("alice ", Hex("b"), " sessions=3"),
        absl::StrCat("b ", Hex("b"), " sessions=0"), absl::StrCat("b ", Hex("b"), " sessions=-1"),
        absl::StrCat("b ", Hex("b"), " sessions=99999999999999999999"),
        absl::StrCat("b ", Hex("b"), " speed=3"), absl::StrCat("b ", Hex("b").substr(1), "g")}) {
    const auto entries = ParseTokenFile(absl::StrCat(good, bad), "f");
    ASSERT_FALSE(entries.ok()) << bad;
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr("f, line 2: ")) << bad;
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr("; allowed: ")) << bad;
    EXPECT_FALSE(absl::StrContains(entries.status().message(), Hex("a"))) << bad;
  }
  EXPECT_FALSE(ParseTokenFile("# none\n", "f").ok());
}

TEST(TokenFile, TakesAnyBytes) {
  std::mt19937 random(3);
  const std::string valid = absl::StrCat("alice ", Hex("a"), " concurrent=3\nbob ", Hex("b"), "\n");
  for (int i = 0; i < 5000; ++i) {
    std::string text = valid;
    for (int changes = 0; changes < 3; ++changes) {
      text[random() % text.size()] = static_cast<char>(random());
    }
    const auto entries = ParseTokenFile(text, "f");
    EXPECT_TRUE(!entries.ok() || !entries->empty());
  }
}

class AccessTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) { ASSERT_TRUE(testing::WriteFile(file_, text)); }

  const testing::TempFolder folder_;
  const std::filesystem::path file_ = folder_.path() / "tokens";
};

TEST_F(AccessTest, WithoutAFileEverybodyIsTheDefaultTenant) {
  const auto access = Access::Open("");
  ASSERT_TRUE(access.ok());
  EXPECT_EQ((*(*access)->Resolve(""))->name(), "default");
  EXPECT_TRUE((*access)->Reload().ok());
}

TEST_F(AccessTest, KnowsTokensAndNothingElse) {
  Write(absl::StrCat("alice ", Hex("secret"), "\nbob ", Hex("other"), "\n"));
  const auto access = Access::Open(file_);
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ((*(*access)->Resolve("Bearer secret"))->name(), "alice");
  for (const char* scheme : {"bearer", "BEARER", "bEaReR"}) {
    EXPECT_EQ((*(*access)->Resolve(absl::StrCat(scheme, " other")))->name(), "bob");
  }
  for (const std::string& wrong :
       {std::string(), std::string("secret"), std::string("Bearer "), std::string("Bearer secret "),
        std::string("Basic secret"), absl::StrCat("Bearer ", Hex("secret"))}) {
    EXPECT_EQ((*access)->Resolve(wrong).status().code(), absl::StatusCode::kUnauthenticated)
        << wrong;
  }
}

TEST_F(AccessTest, ReloadKeepsWhatRunsAndSurvivesABrokenFile) {
  Write(absl::StrCat("alice ", Hex("old"), " concurrent=1\n"));
  const auto access = Access::Open(file_);
  ASSERT_TRUE(access.ok());
  const auto lease = (*(*access)->Resolve("Bearer old"))->Admit(kStart);
  ASSERT_TRUE(lease.ok());
  Write(absl::StrCat("alice ", Hex("new"), " concurrent=1\n"));
  ASSERT_TRUE((*access)->Reload().ok());
  EXPECT_FALSE((*access)->Resolve("Bearer old").ok());
  EXPECT_FALSE((*(*access)->Resolve("Bearer new"))->Admit(kStart).ok());
  Write("nonsense");
  EXPECT_FALSE((*access)->Reload().ok());
  EXPECT_TRUE((*access)->Resolve("Bearer new").ok());
  std::filesystem::remove(file_);
  EXPECT_EQ((*access)->Reload().code(), absl::StatusCode::kNotFound);
}

TEST(Tenant, LimitsCallsUnderWay) {
  const auto tenant = std::make_shared<Tenant>("t", TenantLimits{.concurrent = 2});
  auto first = tenant->Admit(kStart);
  const auto second = tenant->Admit(kStart);
  const auto third = tenant->Admit(kStart);
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(RetrySeconds(third.status()), 0);
  first->reset();
  EXPECT_TRUE(tenant->Admit(kStart).ok());
}

// A caller that waits as long as it is told is admitted, and a little earlier it is not. Over a
// long time, as many tokens are taken as the limit allows.
TEST(Tenant, LimitsTokensPerMinute) {
  std::mt19937 random(11);
  const int64_t limit = 6000;
  const auto tenant = std::make_shared<Tenant>("t", TenantLimits{.tokens_per_minute = limit});
  Clock::time_point now = kStart;
  int64_t taken = 0;
  for (int i = 0; i < 2000; ++i) {
    auto lease = tenant->Admit(now);
    if (!lease.ok()) {
      const double retry = RetrySeconds(lease.status());
      ASSERT_GT(retry, 0);
      EXPECT_FALSE(tenant->Admit(now + Seconds(retry * 0.9)).ok() && retry > 0.2);
      now += Seconds(retry + 0.001);
      lease = tenant->Admit(now);
      ASSERT_TRUE(lease.ok()) << lease.status();
    }
    const auto tokens = static_cast<int64_t>(random() % 3000);
    (*lease)->Charge(tokens);
    taken += tokens;
  }
  const double minutes = std::chrono::duration<double>(now - kStart).count() / 60;
  EXPECT_LE(static_cast<double>(taken), static_cast<double>(limit) * (minutes + 1) + 3000);
  EXPECT_GE(static_cast<double>(taken), static_cast<double>(limit) * minutes);
}

TEST(Tenant, OtherLimitsForgiveNoDebt) {
  const auto tenant = std::make_shared<Tenant>("t", TenantLimits{.tokens_per_minute = 60});
  (*tenant->Admit(kStart))->Charge(120);
  tenant->SetLimits({.tokens_per_minute = 120});
  EXPECT_FALSE(tenant->Admit(kStart).ok());
  EXPECT_FALSE(tenant->Admit(kStart + Seconds(29)).ok());
  EXPECT_TRUE(tenant->Admit(kStart + Seconds(31)).ok())
      << "60 tokens are owed, 2 are paid a second";
}

TEST(Tenant, ALowerLimitCutsTheAllowance) {
  const auto tenant = std::make_shared<Tenant>("t", TenantLimits{.tokens_per_minute = 1'000'000});
  tenant->SetLimits({.tokens_per_minute = 60});
  const auto lease = tenant->Admit(kStart);
  ASSERT_TRUE(lease.ok());
  (*lease)->Charge(60);
  EXPECT_FALSE(tenant->Admit(kStart).ok());
}

TEST(Tenant, WhatTakesNoTokensNeedsNoAllowance) {
  const auto tenant =
      std::make_shared<Tenant>("t", TenantLimits{.concurrent = 1, .tokens_per_minute = 60});
  (*tenant->Admit(kStart))->Charge(120);
  EXPECT_FALSE(tenant->Admit(kStart).ok());
  const auto lease = tenant->Admit(kStart, /*takes_tokens=*/false);
  EXPECT_TRUE(lease.ok());
  EXPECT_FALSE(tenant->Admit(kStart, /*takes_tokens=*/false).ok()) << "one at a time";
}

TEST(Tenant, CountsRightFromManyThreads) {
  const auto tenant = std::make_shared<Tenant>("t", TenantLimits{.concurrent = 3});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 5000; ++k) (void)tenant->Admit(kStart);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::unique_ptr<CallLease>> leases;
  for (int i = 0; i < 3; ++i) leases.push_back(*tenant->Admit(kStart));
  EXPECT_FALSE(tenant->Admit(kStart).ok());
}

}  // namespace
}  // namespace fmaserver::access
