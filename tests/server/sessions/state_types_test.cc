// States of several types in one session, and servers whose slots have others.
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/sessions/session_codec.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::sessions {
namespace {

namespace fs = std::filesystem;
using testing::FakeModel;
using testing::FakeModelOfSmallSlots;
using ::testing::HasSubstr;
using testing::ImportAll;
using testing::kSlotBytes;
using testing::kSmallSlotBytes;
using testing::kTalk;
using testing::NextTokens;
using testing::Text;

const SessionName kCopy{kDefaultTenant, "copy"};

std::unique_ptr<SessionStore> Open(SessionModel model, const fs::path& dir) {
  auto store = SessionStore::Open(std::move(model), {.dir = dir, .sweep_seconds = 0}, nullptr);
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

/// A turn that leaves its state in int8, after one, unless the session is new, that left it as it
/// was.
Text MakeTalk(SessionStore& store, bool large_first) {
  Text text;
  EXPECT_TRUE(store.Create(kTalk, {}).ok());
  if (large_first) {
    EXPECT_TRUE(testing::RunTurn(store, kTalk, text, NextTokens(text, 9, 1)).ok());
  }
  auto turn = store.BeginTurn(kTalk);
  EXPECT_TRUE(turn.ok()) << turn.status();
  const Text more = NextTokens(text, 6, 1);
  text.insert(text.end(), more.begin(), more.end());
  const auto info = (*turn)->Commit(more, testing::SmallStateAfter(text, std::ssize(text) - 1));
  EXPECT_TRUE(info.ok()) << info.status();
  return text;
}

std::string BlobOf(SessionStore& store, bool head_only) {
  auto blob = store.Export(kTalk, head_only);
  EXPECT_TRUE(blob.ok()) << blob.status();
  return *testing::ReadAll(**blob, 100);
}

class StateTypesTest : public ::testing::Test {
 protected:
  std::unique_ptr<SessionStore> Open(SessionModel model) {
    return sessions::Open(std::move(model), folder_.path() / "sessions");
  }

  const testing::TempFolder folder_;
};

TEST_F(StateTypesTest, EachStateKeepsItsTypeAndCountsItsBytes) {
  auto store = Open(FakeModel());
  const Text text = MakeTalk(*store, /*large_first=*/true);
  for (const bool again : {false, true}) {
    if (again) store = Open(FakeModel());
    EXPECT_EQ(store->Get(kTalk)->bytes, kSlotBytes + kSmallSlotBytes);
    EXPECT_EQ(store->Stats().disk_bytes, kSlotBytes + kSmallSlotBytes);
    testing::ExpectTurnOf(**store->BeginTurn(kTalk), text);
    EXPECT_EQ((*store->BeginTurn(kTalk))->state().slot->type(), kernels::CacheType::kInt8);
  }
  EXPECT_EQ(store->Stats().memory_bytes,
            kSmallSlotBytes + static_cast<int64_t>(text.size() * sizeof(int32_t)));
  ASSERT_TRUE(store->Rewind(kTalk, 8).ok());
  testing::ExpectTurnOf(**store->BeginTurn(kTalk), Text(text.begin(), text.begin() + 8));
  EXPECT_EQ((*store->BeginTurn(kTalk))->state().slot->type(), kernels::CacheType::kF32);
}

TEST_F(StateTypesTest, BlobsTellTheTypes) {
  const auto store = Open(FakeModel());
  const Text text = MakeTalk(*store, /*large_first=*/true);
  const auto other = testing::OpenStore({});
  const auto info = ImportAll(*other, kCopy, BlobOf(*store, /*head_only=*/false), 100);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->bytes, kSlotBytes + kSmallSlotBytes);
  testing::ExpectTurnOf(**other->BeginTurn(kCopy), text);
}

TEST_F(StateTypesTest, SmallStatesGoAnywhereAndLargeOnesOnlyWhereTheyFit) {
  const auto store = Open(FakeModel());
  const Text text = MakeTalk(*store, /*large_first=*/true);
  const auto small = sessions::Open(FakeModelOfSmallSlots(), folder_.path() / "small");
  const absl::Status status =
      ImportAll(*small, kCopy, BlobOf(*store, /*head_only=*/false), 100).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("session: type of a state is f32; allowed: int8, as slots are int8"));
  ASSERT_TRUE(ImportAll(*small, kCopy, BlobOf(*store, /*head_only=*/true), 100).ok());
  testing::ExpectTurnOf(**small->BeginTurn(kCopy), text);

  const Text own = MakeTalk(*small, /*large_first=*/false);
  const auto info = ImportAll(*store, kCopy, BlobOf(*small, /*head_only=*/false), 100);
  ASSERT_TRUE(info.ok()) << info.status();
  testing::ExpectTurnOf(**store->BeginTurn(kCopy), own);
}

TEST_F(StateTypesTest, ADirectoryOfAServerWithOtherSlotsIsRead) {
  Text text = MakeTalk(*Open(FakeModelOfSmallSlots()), /*large_first=*/false);
  ASSERT_TRUE(testing::RunTurn(*Open(FakeModel()), kTalk, text, NextTokens(text, 5, 2)).ok());
  // Now there is a state that the first server cannot take.
  const auto small = Open(FakeModelOfSmallSlots());
  EXPECT_EQ(small->Get(kTalk).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(testing::CountFiles(folder_.path(), ".damaged"), 0);
  const auto store = Open(FakeModel());
  testing::ExpectTurnOf(**store->BeginTurn(kTalk), text);
  EXPECT_EQ(store->Get(kTalk)->bytes, kSlotBytes + kSmallSlotBytes);
}

TEST_F(StateTypesTest, ATypeThatNobodyKnowsIsRefused) {
  internal::RecordHeader header;
  header.set_model(FakeModel().fingerprint);
  internal::SessionRecord& record = *header.mutable_session();
  record.set_tokens(1);
  internal::PointRecord& point = *record.add_points();
  point.set_id(std::string(22, 'a'));
  point.set_tokens(1);
  for (const uint32_t type : {1U, 4U, 256U, ~0U}) {
    point.set_cache_type(type);
    const absl::Status status = ContentsFromHeader(header, FakeModel()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("allowed: f32, bf16 or int8"));
  }
}

}  // namespace
}  // namespace fmaserver::sessions
