// How much of an archive a request needs: what its samples would write, step by step.
#include "server/engine/archive_need.h"

#include <limits>
#include <random>

#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

engine::State StateOf(int64_t tokens, int64_t chunks) {
  return {tokens == 0 ? nullptr : std::make_shared<engine::Snapshot>(tokens, 1),
          engine::Archive(chunks)};
}

TEST(ArchiveNeed, IsWhatAllSamplesWrite) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const auto start = static_cast<int64_t>(random() % 50);
    const int64_t held = OpeningLayout().Groups(start);
    engine::GenerateRequest request;
    request.state = StateOf(start, held);
    request.prompt.resize(1 + random() % 60);
    request.n = 1 + static_cast<int32_t>(random() % 4);
    request.max_tokens = 1 + static_cast<int64_t>(random() % 50);
    request.generated.resize(random() % request.max_tokens);
    // The first sample reads all but the last token, then each goes on by itself; nobody feeds the
    // last token that was chosen.
    const int64_t shared = start + std::ssize(request.prompt) - 1;
    const int64_t end = shared + request.max_tokens - std::ssize(request.generated);
    int64_t written = 0;
    for (int64_t tokens = start + 1; tokens <= shared; ++tokens) {
      written += OpeningLayout().Groups(tokens) - OpeningLayout().Groups(tokens - 1);
    }
    for (int64_t tokens = shared + 1; tokens <= end; ++tokens) {
      written += request.n * (OpeningLayout().Groups(tokens) - OpeningLayout().Groups(tokens - 1));
    }
    ASSERT_EQ(engine::ArchiveNeed(request, OpeningConfig(), OpeningLayout(), held), written)
        << start << " + " << request.prompt.size() << " + " << request.max_tokens;
  }
}

TEST(ArchiveNeed, OnlyReadingNeedsNothingForAnAnswer) {
  engine::GenerateRequest request;
  request.prompt.resize(25);
  request.max_tokens = 0;
  EXPECT_EQ(engine::ArchiveNeed(request, OpeningConfig(), OpeningLayout(), 0),
            OpeningLayout().Groups(24));
}

TEST(ArchiveNeed, NoNumberOfTokensOverflows) {
  engine::GenerateRequest request;
  request.prompt.resize(1);
  request.max_tokens = std::numeric_limits<int64_t>::max();
  request.n = engine::kMaxSamples;
  EXPECT_GT(engine::ArchiveNeed(request, OpeningConfig(), OpeningLayout(), 0), int64_t{1} << 40);
}

TEST(Opens, OnlyAfterACompleteArchive) {
  engine::GenerateRequest request;
  EXPECT_TRUE(engine::Opens(request, OpeningLayout()));
  request.no_archive = true;
  EXPECT_FALSE(engine::Opens(request, OpeningLayout()));
  request.no_archive = false;
  request.state = StateOf(15, 0);
  EXPECT_TRUE(engine::Opens(request, OpeningLayout())) << "nothing has left the near field yet";
  request.state = StateOf(16, 0);
  EXPECT_FALSE(engine::Opens(request, OpeningLayout())) << "one group is missing for good";
  request.state = StateOf(16, 1);
  EXPECT_TRUE(engine::Opens(request, OpeningLayout()));
  model::ModelConfig closed = SelectingConfig();
  EXPECT_FALSE(engine::Opens({}, {closed.attention, closed.num_layers, kernels::CacheType::kF32}));
}

}  // namespace
}  // namespace fmaserver::testing
