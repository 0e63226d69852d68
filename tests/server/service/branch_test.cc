// Turns that end as sessions of their own: what they read, what they keep, and what they leave when
// they fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>
#include <string>

#include "absl/time/time.h"
#include "server/service/session_calls.h"
#include "tests/server/service/service_fixture.h"

namespace fmaserver::testing {
namespace {

using service::Answered;
using service::Conversation;
using ::testing::HasSubstr;

service::GenerateRequest BranchRequest(const std::string& parent, const std::string& child,
                                       Conversation messages, int64_t max_tokens) {
  service::GenerateRequest request;
  request.prompt.messages = std::move(messages);
  request.options.max_tokens = max_tokens;
  request.options.ignore_eos = true;
  request.options.sampling.seed = 7;
  request.branch = {.parent = parent, .child = child, .note = [](const Answered& answered) {
                      return "kept: " + answered.text;
                    }};
  return request;
}

class BranchTest : public ::testing::Test {
 protected:
  /// Runs a branch to its end.
  Answered Run(const service::GenerateRequest& request) {
    GenerateCall call(service_, request);
    const absl::Status status = call.Run();
    EXPECT_TRUE(status.ok()) << status;
    const auto* finished = call.finished();
    if (finished == nullptr || !finished->answered.has_value()) return {};
    EXPECT_EQ(finished->session.has_value(), !request.branch->child.empty());
    EXPECT_EQ(finished->answered->output_tokens, call.CountTokens());
    return *finished->answered;
  }

  absl::StatusOr<sessions::SessionInfo> Get(const std::string& id) {
    return service_.sessions().Get({.tenant = kDefaultTenant, .id = id});
  }
  std::string Note(const std::string& id) {
    return service_.sessions().Note({.tenant = kDefaultTenant, .id = id}).value_or("none");
  }

  TestService service_{{.chats = true}};
};

TEST_F(BranchTest, OnlyTheNewMessagesAreRead) {
  const Answered first = Run(BranchRequest("", "one", {{"user", "One?"}}, 6));
  EXPECT_EQ(first.cached_tokens, 0);
  EXPECT_EQ(first.output_tokens, 6);
  EXPECT_EQ(Get("one")->tokens, first.input_tokens + 6);
  EXPECT_EQ(Note("one"), "kept: " + first.text);

  const Answered second = Run(BranchRequest("one", "two", {{"user", "Two?"}}, 6));
  EXPECT_EQ(second.cached_tokens, first.input_tokens + 5) << "all but the token chosen last";
  EXPECT_EQ(Get("one")->tokens, first.input_tokens + 6) << "the parent stays as it is";

  const Answered again = Run(BranchRequest("one", "other", {{"user", "Two?"}}, 6));
  EXPECT_EQ(again.text, second.text);
  const Answered alone = Run(BranchRequest("one", "", {{"user", "Two?"}}, 6));
  EXPECT_EQ(alone.text, second.text);
  EXPECT_EQ(alone.cached_tokens, second.cached_tokens);
  EXPECT_EQ(service_.sessions().CountOf(kDefaultTenant), 3);
}

TEST_F(BranchTest, TheInputIsThatOfTheWholeConversation) {
  const auto vocabulary = service::VocabularyOf(*service_.model());
  auto one = BranchRequest("", "one", {{"user", "One?"}}, 1);
  one.options.sampling.allowed_token_ids = *vocabulary.tokenizer->Encode("a");
  EXPECT_EQ(Run(one).text, "a");
  const Conversation whole = {{"user", "One?"}, {"assistant", "a"}, {"user", "Two?"}};
  const auto tokens = service::ChatTokens(whole, vocabulary, service::RequestLimits());
  EXPECT_EQ(Run(BranchRequest("one", "two", {{"user", "Two?"}}, 6)).input_tokens,
            std::ssize(*tokens));
}

TEST_F(BranchTest, AParentNeedsANote) {
  Require(service_.sessions().Create({.tenant = kDefaultTenant, .id = "talk"}, {}).status());
  for (const char* parent : {"talk", "nobody"}) {
    GenerateCall call(service_, BranchRequest(parent, "child", {{"user", "a"}}, 4));
    const absl::Status status = call.Run();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(parent));
  }
  EXPECT_FALSE(Get("child").ok());
}

TEST_F(BranchTest, WhatDoesNotEndLeavesNothing) {
  Run(BranchRequest("", "one", {{"user", "One?"}}, 4));
  auto refused = BranchRequest("one", "child", {{"nobody", "a"}}, 4);
  EXPECT_EQ(GenerateCall(service_, refused).Run().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Get("child").ok());
  refused = BranchRequest("one", "child", {{"user", "a"}}, 4);
  refused.options.sampling.temperature = -1;
  EXPECT_EQ(GenerateCall(service_, refused).Run().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Get("child").ok());
  {
    GenerateCall cancelled(service_, BranchRequest("one", "child", {{"user", "a"}}, 100'000'000));
    EXPECT_TRUE(Eventually([this] { return service_.engine().FreeSlots() == 3; }));
    cancelled.call().OnCancel(absl::CancelledError("gone"));
    EXPECT_TRUE(absl::IsCancelled(cancelled.Run()));
  }
  EXPECT_TRUE(Eventually([this] { return service_.engine().FreeSlots() == 4; }));
  EXPECT_FALSE(Get("child").ok());
  EXPECT_EQ(service_.sessions().CountOf(kDefaultTenant), 1);
  Run(BranchRequest("one", "child", {{"user", "a"}}, 4));
  EXPECT_TRUE(Get("child").ok()) << "and its name is free";
}

TEST_F(BranchTest, AReaderThatLeavesAtTheEndLeavesNothing) {
  service::Generation* running = nullptr;
  std::latch known(1);
  auto request = BranchRequest("", "child", {{"user", "a"}}, 4);
  request.branch->note = [&](const Answered&) {
    known.wait();
    running->OnCancel(absl::CancelledError("gone"));
    return "too late";
  };
  {
    GenerateCall call(service_, request);
    running = &call.call();
    known.count_down();
    EXPECT_TRUE(absl::IsCancelled(call.Run()));
  }
  service_->AwaitCalls();
  EXPECT_FALSE(Get("child").ok());
}

TEST_F(BranchTest, AShutdownLeavesNothing) {
  GenerateCall call(service_, BranchRequest("", "child", {{"user", "a"}}, 100'000'000));
  EXPECT_TRUE(Eventually([this] { return service_.engine().FreeSlots() == 3; }));
  service_.engine().Drain(absl::ZeroDuration());
  EXPECT_EQ(call.Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(call.resume_token(), "");
  EXPECT_FALSE(Get("child").ok());
}

TEST(BranchLimitTest, AnAnswerHasAMostOfBytes) {
  TestService service{{.limits = {.answer_bytes = 100}, .chats = true}};
  const absl::Status status =
      GenerateCall(service, BranchRequest("", "child", {{"user", "a"}}, 100'000'000)).Run();
  EXPECT_THAT(std::string(status.message()), HasSubstr("answer is more than 100 bytes"));
  EXPECT_EQ(service.sessions().CountOf(kDefaultTenant), 0);
}

TEST(BranchLimitTest, ChildrenCountAsTheTenantsSessions) {
  TestService service{{.sessions = {.max_sessions = 1}, .chats = true}};
  EXPECT_TRUE(GenerateCall(service, BranchRequest("", "one", {{"user", "a"}}, 2)).Run().ok());
  EXPECT_EQ(GenerateCall(service, BranchRequest("one", "two", {{"user", "a"}}, 2)).Run().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(GenerateCall(service, BranchRequest("one", "", {{"user", "a"}}, 2)).Run().ok());
}

}  // namespace
}  // namespace fmaserver::testing
