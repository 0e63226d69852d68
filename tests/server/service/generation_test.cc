// Generate calls without a transport: a real engine on one side, a reader of any pace on the other.
#include "server/service/generation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "tests/server/service/service_fixture.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

class GenerationTest : public ::testing::Test {
 protected:
  ~GenerationTest() override { service_.tokenizer().Open(); }

  absl::Status Run(GenerateCall& call, std::chrono::microseconds write_time,
                   std::optional<int> cancel_after = std::nullopt) {
    return call.door().Run(call.call(), write_time, cancel_after);
  }

  TestService service_;
};

TEST_F(GenerationTest, NothingIsLostWhateverTheReadersPace) {
  for (const int microseconds : {0, 10, 100, 1000, 5000}) {
    GenerateCall call(service_, TextRequest("hi", 200));
    EXPECT_TRUE(Run(call, std::chrono::microseconds(microseconds)).ok());
    EXPECT_EQ(call.CountTokens(), 200);
    ASSERT_NE(call.finished(), nullptr);
    EXPECT_EQ(call.finished()->end.usage.generated_tokens, 200);
  }
}

TEST_F(GenerationTest, SlowReadersGetMergedDeltas) {
  GenerateCall call(service_, TextRequest("hi", 2000));
  EXPECT_TRUE(Run(call, std::chrono::milliseconds(20)).ok());
  EXPECT_EQ(call.CountTokens(), 2000);
  EXPECT_LT(call.door().events().size(), 1000U);
}

TEST_F(GenerationTest, CancelAtAnyMomentEndsTheCallAndFreesTheSlot) {
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 8; ++reader) {
    readers.emplace_back([this, reader] {
      for (int writes = 0; writes < 10; ++writes) {
        GenerateCall call(service_, TextRequest("hi", 100'000'000));
        EXPECT_TRUE(absl::IsCancelled(Run(call, std::chrono::microseconds(reader * 20), writes)));
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_TRUE(Eventually([this] { return service_.engine().FreeSlots() == 4; }));
}

TEST_F(GenerationTest, CancelRacesWithTheEnd) {
  for (int tokens = 1; tokens <= 60; ++tokens) {
    GenerateCall call(service_, TextRequest("hi", tokens));
    const absl::Status status = Run(call, std::chrono::microseconds(0), tokens / 2);
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status));
  }
}

// The thread that submits a request has other calls to serve.
TEST_F(GenerationTest, LongTextsAreReadOnOtherThreads) {
  service_.tokenizer().Shut();
  const std::string text(100'000, 'x');
  GenerateCall first(service_, TextRequest(text, 3));
  GenerateCall second(service_, TextRequest(text, 3));
  GenerateCall third(service_, TextRequest(text, 3));
  service::GenerateRequest ids = TextRequest("", 5);
  ids.prompt = {.text = std::nullopt, .ids = std::vector<int32_t>{1, 2, 3}};
  GenerateCall quick(service_, ids);
  EXPECT_TRUE(quick.Run().ok()) << "what is quick to read does not wait";
  service_.tokenizer().Open();
  for (GenerateCall* call : {&first, &second, &third}) {
    EXPECT_TRUE(call->Run().ok());
    EXPECT_EQ(call->finished()->end.usage.prompt_tokens, 100'000);
  }
}

TEST_F(GenerationTest, TooMuchThatWaitsToBeReadIsRefused) {
  service_.tokenizer().Shut();
  constexpr size_t kMany = size_t{30} << 20;
  const service::GenerateRequest request = TextRequest("x", 1);
  std::vector<std::unique_ptr<GenerateCall>> calls;
  for (int i = 0; i < 2; ++i) {
    calls.push_back(
        std::make_unique<GenerateCall>(service_, request, GenerateCallOptions{.bytes = kMany}));
  }
  EXPECT_TRUE(Eventually([this] { return service_.tokenizer().encoded() == 2; }));
  for (int i = 0; i < 3; ++i) {
    calls.push_back(
        std::make_unique<GenerateCall>(service_, request, GenerateCallOptions{.bytes = kMany}));
  }
  EXPECT_EQ(calls.back()->Run().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(calls.back()->parsed());
  calls.pop_back();
  service_.tokenizer().Open();
  for (const auto& call : calls) EXPECT_TRUE(call->Run().ok());
}

TEST_F(GenerationTest, ACallThatIsGoneIsNotEncoded) {
  service_.tokenizer().Shut();
  const std::string text(10'000, 'x');
  GenerateCall first(service_, TextRequest(text, 1));
  GenerateCall second(service_, TextRequest(text, 1));
  EXPECT_TRUE(Eventually([this] { return service_.tokenizer().encoded() == 2; }));
  GenerateCall gone(service_, TextRequest(text, 1));
  gone.call().OnCancel(absl::CancelledError("gone"));
  service_.tokenizer().Open();
  EXPECT_TRUE(first.Run().ok());
  EXPECT_TRUE(second.Run().ok());
  EXPECT_TRUE(absl::IsCancelled(gone.Run()));
  EXPECT_FALSE(gone.parsed());
}

// Later requests are refused whatever their text is, so it is not read.
TEST_F(GenerationTest, DrainingRefusesBeforeTheTextIsRead) {
  service_.engine().Drain(absl::ZeroDuration());
  GenerateCall call(service_, TextRequest(std::string(10'000, 'x'), 1));
  EXPECT_EQ(call.Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(call.parsed());
}

TEST(GenerationAdmissionTest, AFullQueueRefusesBeforeTheTextIsRead) {
  TestService service({.engine = {.num_slots = 1, .max_queue = 0}});
  GenerateCall running(service, TextRequest("x", 100'000'000));
  EXPECT_TRUE(Eventually([&] { return service.engine().FreeSlots() == 0; }));
  GenerateCall call(service, TextRequest("x", 1));
  const absl::Status status = call.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(status.GetPayload(kRetryAfterSeconds).has_value());
  EXPECT_FALSE(call.parsed());
  running.call().OnCancel(absl::CancelledError("enough"));
  running.Run().IgnoreError();
}

TEST(GenerationAdmissionTest, StrangersAreRefusedBeforeTheTextIsRead) {
  TestService service({.tokens = "alice " + std::string(64, 'a') + "\n"});
  GenerateCall call(service, TextRequest("x", 1), {.authorization = "Bearer wrong"});
  EXPECT_EQ(call.Run().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_FALSE(call.parsed());
}

TEST(GenerationAdmissionTest, ATextOverItsLimitIsNotEncoded) {
  TestService service({.limits = {.text_bytes = 10}});
  GenerateCall call(service, TextRequest(std::string(11, 'x'), 1));
  const absl::Status status = call.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("number of bytes in text is 11; allowed: up to 10"));
  EXPECT_EQ(service.tokenizer().encoded(), 0);
  GenerateCall fits(service, TextRequest(std::string(10, 'x'), 1));
  EXPECT_TRUE(fits.Run().ok());
}

TEST_F(GenerationTest, TheReportTellsWhatTheCallTook) {
  {
    GenerateCall call(service_, TextRequest("hello", 7));
    EXPECT_TRUE(call.Run().ok());
  }
  const service::CallReport report = service_.reports().Await(service::kGenerate);
  EXPECT_EQ(report.method, "Generate");
  EXPECT_TRUE(report.status.ok());
  EXPECT_EQ(report.usage.prompt_tokens, 5);
  EXPECT_EQ(report.usage.generated_tokens, 7);
  EXPECT_GT(report.seconds, 0);
}

TEST_F(GenerationTest, LongPromptsAreReportedInPieces) {
  service::GenerateRequest request = TextRequest(std::string(1000, 'p'), 1);
  request.options.echo = true;
  GenerateCall call(service_, request);
  EXPECT_TRUE(Run(call, std::chrono::microseconds(0)).ok());
  size_t tokens = 0;
  for (const service::GenerateEvent& event : call.door().events()) {
    if (const auto* prompt = std::get_if<service::PromptTokens>(&event)) {
      tokens += prompt->tokens.size();
    }
  }
  EXPECT_EQ(tokens, 1000U);
}

}  // namespace
}  // namespace fmaserver::testing
