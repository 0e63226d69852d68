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

class TraceAll final : public service::CallObserver {
 public:
  std::shared_ptr<service::CallTrace> Trace(const service::CallMetadata& checked) override {
    auto trace = std::make_shared<service::CallTrace>();
    trace->tracestate = checked.tracestate;
    return trace;
  }
  void OnCall(const service::CallReport& report) override { last = report; }

  service::CallReport last;
};

TEST(Call, IsTracedFromItsBeginningWhereTheObserverSaysSo) {
  const auto observer = std::make_shared<TraceAll>();
  const service::CallPolicy policy{.access = access::Access::ForEverybody(), .observer = observer};
  const Clock::time_point before = Clock::now();
  {
    service::Call call(policy, service::kScore,
                       {.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                        .tracestate = "vendor=1"});
    ASSERT_NE(call.trace(), nullptr);
    EXPECT_GE(call.trace()->start, before);
    const service::PartWatch watch(call.trace());
    watch.End(service::kSavePart, absl::StatusCode::kOk, service::kInStore);
  }
  ASSERT_NE(observer->last.trace, nullptr);
  EXPECT_EQ(observer->last.trace->tracestate, "vendor=1");
  ASSERT_EQ(observer->last.trace->parts.size(), 1U);
  const service::TracedPart& part = observer->last.trace->parts[0];
  EXPECT_LE(before, part.begin);
  EXPECT_LE(part.begin, part.end);
}

TEST(Call, IsNotTracedUnlessTheObserverSaysSo) {
  TestService service;
  const auto call = service.Begin(service::kScore);
  EXPECT_EQ(call->trace(), nullptr);
  const service::PartWatch watch(call->trace());
  watch.End(service::kSavePart, absl::StatusCode::kOk, service::kInStore);
}

TEST(Call, ATracestateMeansNothingWithoutATraceparent) {
  EXPECT_EQ(service::Checked({.traceparent = "x", .tracestate = "vendor=1"}).tracestate, "");
}

TEST(Call, WithoutAStatusItWasCancelled) {
  TestService service;
  service.Begin(service::kScore).reset();
  EXPECT_TRUE(absl::IsCancelled(service.reports().Await(service::kScore).status));
}

}  // namespace
}  // namespace fmaserver::testing
