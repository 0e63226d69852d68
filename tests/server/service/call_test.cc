#include "server/service/call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/access/token_file.h"
#include "tests/server/service/service_fixture.h"

namespace fmaserver::testing {
namespace {

std::string Entry(const std::string& tenant, const std::string& token, const std::string& limits) {
  const access::TokenDigest digest = access::DigestOf(token);
  return absl::StrCat(tenant, " ",
                      absl::BytesToHexString(absl::string_view(
                          reinterpret_cast<const char*>(digest.data()), digest.size())),
                      " ", limits, "\n");
}

TEST(Call, HasATenantOrIsRefused) {
  TestService service({.tokens = Entry("alice", "a", "sessions=3")});
  const auto known = service.Begin(service::kGenerate, "Bearer a");
  EXPECT_TRUE(known->admission().ok());
  EXPECT_EQ(known->tenant(), "alice");
  EXPECT_EQ(known->tenant_limits().sessions, 3);
  const auto stranger = service.Begin(service::kGenerate, "Bearer b");
  EXPECT_EQ(stranger->admission().code(), absl::StatusCode::kUnauthenticated);
}

TEST(Call, GivesItsTenantsShareBackAtItsEnd) {
  TestService service({.tokens = Entry("alice", "a", "concurrent=1")});
  auto first = service.Begin(service::kGenerate, "Bearer a");
  const auto second = service.Begin(service::kGetModel, "Bearer a");
  EXPECT_EQ(second->admission().code(), absl::StatusCode::kResourceExhausted);
  first.reset();
  EXPECT_TRUE(service.Begin(service::kGenerate, "Bearer a")->admission().ok());
}

// A tenant that has used up its tokens can still list and delete its sessions.
TEST(Call, WhatTakesNoTokensNeedsNoAllowance) {
  TestService service({.tokens = Entry("alice", "a", "tokens-per-minute=10")});
  service.Begin(service::kGenerate, "Bearer a")->ChargePrompt(1000);
  for (const service::CallKind& kind :
       {service::kGenerate, service::kScore, service::kTokenize, service::kDetokenize}) {
    EXPECT_EQ(service.Begin(kind, "Bearer a")->admission().code(),
              absl::StatusCode::kResourceExhausted)
        << kind.method;
  }
  for (const service::CallKind& kind : {service::kGetModel, service::kGetSession,
                                        service::kListSessions, service::kDeleteSession}) {
    EXPECT_TRUE(service.Begin(kind, "Bearer a")->admission().ok()) << kind.method;
  }
}

TEST(Call, IsReportedOnceAtItsEnd) {
  TestService service;
  {
    const auto call = service->Begin(
        service::kScore, {.traceparent = "nonsense", .request_id = "my-id", .peer = "here"});
    EXPECT_EQ(call->request_id(), "my-id");
    call->ChargePrompt(12);
    call->SetStatus(absl::InternalError("broken"));
  }
  const service::CallReport report = service.reports().Await(service::kScore);
  EXPECT_EQ(report.request_id, "my-id");
  EXPECT_EQ(report.method, "Score");
  EXPECT_EQ(report.tenant, kDefaultTenant);
  EXPECT_EQ(report.traceparent, "");
  EXPECT_EQ(report.peer, "here");
  EXPECT_EQ(report.usage.prompt_tokens, 12);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kInternal);
}

TEST(Call, WithoutAStatusItWasCancelled) {
  TestService service;
  service.Begin(service::kScore).reset();
  EXPECT_TRUE(absl::IsCancelled(service.reports().Await(service::kScore).status));
}

}  // namespace
}  // namespace fmaserver::testing
