#include "server/sessions/session_codec.h"

#include <string>
#include <string_view>

#include "base/id.h"
#include "base/text.h"
#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"

namespace fmaserver::sessions {
namespace {

constexpr int64_t kLate = int64_t{1} << 59;  // a count of tokens that takes as many bytes as any

std::string IdOf(std::string_view kind, int64_t number) {
  const std::string id = std::to_string(number);
  return Concat(kind, std::string(kRandomIdChars - kind.size() - id.size(), '0'), id);
}

Point PointAt(int64_t index) {
  return {.slot = std::make_shared<Part>(Part{.id = IdOf("s", index), .tokens = kLate + index}),
          .turn_end = true};
}

PartPtr Chunk(int64_t index) {
  return std::make_shared<Part>(Part{.kind = Part::Kind::kChunk,
                                     .id = IdOf("c", index),
                                     .begin = kLate - 2 * kMaxChunks + index,
                                     .tokens = kLate - 2 * kMaxChunks + index + 1,
                                     .bytes = kMaxChunkBytes});
}

// A session that could not be read back must never be written.
TEST(SessionCodecTest, TheLargestSessionFitsIntoAHeader) {
  SessionContents contents{.tokens = kLate + kMaxRewindPoints,
                           .log_begin = kLate + kMaxRewindPoints,
                           .tail = std::make_shared<Tail>()};
  for (int64_t i = 0; i <= kMaxRewindPoints; ++i) contents.points.push_back(PointAt(i));
  Point& last = contents.points.back();
  for (int64_t i = 0; i < kMaxChunks; ++i) last.archive.push_back(Chunk(i));
  ASSERT_TRUE(CheckArchives(contents.points).ok());
  contents.interruption = Interruption{.token = std::string(100, 't'), .seed = ~uint64_t{0}};
  const internal::RecordHeader header = SessionHeader(contents, testing::FakeModel());
  EXPECT_LE(header.ByteSizeLong(), kMaxRecordHeaderBytes);
  const auto read = ContentsFromHeader(header, testing::FakeModel());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(PartsOf(read->points).size(), PartsOf(contents.points).size());

  last.archive.push_back(Chunk(kMaxChunks));
  EXPECT_FALSE(CheckArchives(contents.points).ok());
}

TEST(SessionCodecTest, ArchivesMayPartAndShareAgain) {
  SessionContents contents{
      .tokens = kLate + 3, .log_begin = kLate + 3, .tail = std::make_shared<Tail>()};
  for (int64_t i = 0; i < 4; ++i) contents.points.push_back(PointAt(i));
  contents.points[0].archive = {Chunk(1), Chunk(2)};
  contents.points[1].archive = {Chunk(1), Chunk(3), Chunk(4)};
  contents.points[2].archive = {Chunk(1), Chunk(2), Chunk(5)};
  const auto read =
      ContentsFromHeader(SessionHeader(contents, testing::FakeModel()), testing::FakeModel());
  ASSERT_TRUE(read.ok()) << read.status();
  for (size_t i = 0; i < contents.points.size(); ++i) {
    ASSERT_EQ(read->points[i].archive.size(), contents.points[i].archive.size()) << i;
    for (size_t j = 0; j < contents.points[i].archive.size(); ++j) {
      EXPECT_EQ(read->points[i].archive[j]->id, contents.points[i].archive[j]->id);
    }
  }
  EXPECT_EQ(read->points[0].archive[1], read->points[2].archive[1]) << "one part, not two";
}

}  // namespace
}  // namespace fmaserver::sessions
