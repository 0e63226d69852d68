// A request is one request, however many samples it has.
#include "server/engine/request_end.h"

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <vector>

#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

class EndKeeper final : public engine::EngineObserver {
 public:
  void OnEnd(const engine::EndReport& end) override {
    const std::lock_guard lock(mutex_);
    ends_.push_back(end);
  }
  std::vector<engine::EndReport> ends() const {
    const std::lock_guard lock(mutex_);
    return ends_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<engine::EndReport> ends_;
};

engine::EndReport Sample(absl::StatusCode code, int64_t tokens) {
  engine::EndReport end;
  end.code = code;
  end.usage.prompt_tokens = 5;
  end.usage.generated_tokens = tokens;
  return end;
}

TEST(RequestEnd, IsReportedWithTheLastSample) {
  EndKeeper keeper;
  engine::RequestEnd end(3, keeper);
  end.Add(Sample(absl::StatusCode::kOk, 1));
  end.Add(Sample(absl::StatusCode::kOk, 10));
  EXPECT_TRUE(keeper.ends().empty());
  end.Add(Sample(absl::StatusCode::kOk, 100));
  ASSERT_EQ(keeper.ends().size(), 1U);
  EXPECT_EQ(keeper.ends()[0].usage.generated_tokens, 111);
  EXPECT_EQ(keeper.ends()[0].usage.prompt_tokens, 5);
}

TEST(RequestEnd, TheFirstFailureIsTheRequests) {
  EndKeeper keeper;
  engine::RequestEnd end(3, keeper);
  end.Add(Sample(absl::StatusCode::kOk, 1));
  end.Add(Sample(absl::StatusCode::kInternal, 10));
  end.Add(Sample(absl::StatusCode::kCancelled, 100));
  ASSERT_EQ(keeper.ends().size(), 1U);
  EXPECT_EQ(keeper.ends()[0].code, absl::StatusCode::kInternal);
}

TEST(RequestEnd, AnEngineReportsARequestOfManySamplesOnce) {
  const engine::EngineOptions options{.num_slots = 3};
  const auto keeper = std::make_shared<EndKeeper>();
  const auto engine =
      engine::Engine::Create(MakeModel(SmallConfig(), /*seed=*/3, engine::Engine::MaxRows(options)),
                             nullptr, options, keeper);
  ASSERT_TRUE(engine.ok()) << engine.status();
  engine::GenerateRequest request;
  request.prompt = {1, 2, 3};
  request.n = 8;
  request.max_tokens = 4;
  request.ignore_eos = true;
  ASSERT_TRUE((*engine)->Submit(request, std::make_shared<RecordingGenerateSink>()).ok());
  (*engine)->Drain(absl::Seconds(60));
  ASSERT_EQ(keeper->ends().size(), 1U);
  EXPECT_EQ(keeper->ends()[0].code, absl::StatusCode::kOk);
  EXPECT_EQ(keeper->ends()[0].usage.prompt_tokens, 3);
  EXPECT_EQ(keeper->ends()[0].usage.generated_tokens, 8 * 4);
}

}  // namespace
}  // namespace fmaserver::testing
