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

/// `count` chunks of one token, those of every volume `in_a_row` long.
ChunkList Chunks(int64_t count, int64_t in_a_row) {
  std::vector<PartPtr> chunks;
  for (int64_t i = 0; i < count; ++i) {
    chunks.push_back(std::make_shared<Part>(Part{.kind = Part::Kind::kChunk,
                                                 .id = IdOf("v", i / in_a_row),
                                                 .number = i % in_a_row,
                                                 .begin = i,
                                                 .tokens = i + 1,
                                                 .bytes = kMaxChunkBytes}));
  }
  return ChunkList(std::move(chunks));
}

SessionContents ContentsWith(ChunkList chunks) {
  SessionContents contents{.tokens = kLate + kMaxRewindPoints,
                           .log_begin = kLate + kMaxRewindPoints,
                           .tail = std::make_shared<Tail>()};
  for (int64_t i = 0; i <= kMaxRewindPoints; ++i) {
    contents.points.push_back(PointAt(i));
    contents.points.back().chunks = std::ssize(*chunks);
  }
  contents.chunks = std::move(chunks);
  contents.volume = IdOf("v", 7);
  return contents;
}

absl::StatusOr<SessionContents> ReadBack(const SessionContents& contents) {
  return ContentsFromHeader(SessionHeader(contents, testing::FakeModel()), testing::FakeModel());
}

// A session that could not be read back must never be written.
TEST(SessionCodecTest, TheLargestSessionFitsIntoAHeader) {
  SessionContents contents = ContentsWith(Chunks(kMaxChunks, 20));
  ASSERT_TRUE(CheckChunks(*contents.chunks, contents.points).ok());
  contents.interruption = Interruption{.token = std::string(100, 't'), .seed = ~uint64_t{0}};
  const internal::RecordHeader header = SessionHeader(contents, testing::FakeModel());
  EXPECT_LE(header.ByteSizeLong(), kMaxRecordHeaderBytes);
  const auto read = ContentsFromHeader(header, testing::FakeModel());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(PartsOf(*read).size(), PartsOf(contents).size());
  EXPECT_EQ(ItemsOf(*read), ItemsOf(contents));
  EXPECT_EQ(read->volume, contents.volume);

  contents.chunks = Chunks(kMaxChunks + 1, 20);
  EXPECT_FALSE(CheckChunks(*contents.chunks, contents.points).ok());
  EXPECT_FALSE(ReadBack(contents).ok());
}

// What a turn rewrites does not grow with the conversation.
TEST(SessionCodecTest, ChunksInARowTakeTheirRecordNoBytes) {
  const auto bytes = [](int64_t chunks) {
    return SessionHeader(ContentsWith(Chunks(chunks, chunks)), testing::FakeModel()).ByteSizeLong();
  };
  EXPECT_LT(bytes(kMaxChunks), bytes(1) + 10'000) << "counts of the points, of more digits";
}

TEST(SessionCodecTest, ChunksComeBackWhereTheyLie) {
  SessionContents contents = ContentsWith(Chunks(10, 4));
  contents.points[3].chunks = 5;
  const auto read = ReadBack(contents);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->points[3].chunks, 5);
  ASSERT_EQ(read->chunks->size(), 10U);
  for (size_t i = 0; i < 10; ++i) {
    const Part& part = *(*read->chunks)[i];
    const Part& expected = *(*contents.chunks)[i];
    EXPECT_EQ(part.id, expected.id);
    EXPECT_EQ(part.number, expected.number);
    EXPECT_EQ(part.begin, expected.begin);
    EXPECT_EQ(part.tokens, expected.tokens);
    EXPECT_EQ(part.bytes, expected.bytes);
  }
}

// The places of a volume are equal.
TEST(SessionCodecTest, TheRecordsOfChunksAreOfOneSize) {
  const auto bytes = [](int64_t number, int64_t tokens) {
    const Part chunk{.kind = Part::Kind::kChunk,
                     .id = IdOf("v", 1),
                     .number = number,
                     .tokens = tokens,
                     .bytes = 9};
    return RecordBytes(PartHeader(chunk, testing::FakeModel()), chunk.bytes);
  };
  EXPECT_EQ(bytes(0, 1), bytes(kMaxChunks, kLate));
}

}  // namespace
}  // namespace fmaserver::sessions
