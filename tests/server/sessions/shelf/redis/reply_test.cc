// Replies that arrive in any pieces, and bytes that are none.
#include "server/sessions/shelf/redis/reply.h"

#include "gtest/gtest.h"

namespace fmaserver::sessions {
namespace {

constexpr std::string_view kReplies =
    "+OK\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n-ERR no\r\n*3\r\n$1\r\nx\r\n*1\r\n:5\r\n*0\r\n";

TEST(ReplyTest, PiecesOfAnySizeGiveTheSameReplies) {
  for (size_t size = 1; size <= kReplies.size(); ++size) {
    SCOPED_TRACE(size);
    ReplyReader reader;
    std::vector<Reply> replies;
    for (size_t at = 0; at < kReplies.size(); at += size) {
      ASSERT_TRUE(reader.Add(kReplies.substr(at, size)).ok());
      for (;;) {
        auto reply = reader.Take();
        ASSERT_TRUE(reply.ok()) << reply.status();
        if (!reply->has_value()) break;
        replies.push_back(**std::move(reply));
      }
    }
    ASSERT_EQ(replies.size(), 6U);
    EXPECT_EQ(replies[0].text, "OK");
    EXPECT_EQ(replies[1].number, -7);
    EXPECT_EQ(replies[2].text, "a\r\n");
    EXPECT_EQ(replies[3].kind, Reply::Kind::kNil);
    EXPECT_EQ(replies[4].kind, Reply::Kind::kError);
    ASSERT_EQ(replies[5].list.size(), 3U);
    EXPECT_EQ(replies[5].list[1].list.front().number, 5);
    EXPECT_EQ(reader.held(), 0U);
  }
}

TEST(ReplyTest, OtherBytesAreRefused) {
  for (const std::string_view bytes :
       {"HTTP/1.1 400 Bad Request\r\n\r\n", "$-2\r\n", "*-2\r\n", "$9999999999999999999\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"}) {
    ReplyReader reader;
    ASSERT_TRUE(reader.Add(bytes).ok());
    EXPECT_FALSE(reader.Take().ok()) << bytes;
  }
}

// What it says that will come takes no memory before it does.
TEST(ReplyTest, LargeNumbersAreOnlyAwaited) {
  for (const std::string_view bytes : {"*2147483647\r\n:1\r\n", "$536870912\r\nabc"}) {
    ReplyReader reader;
    ASSERT_TRUE(reader.Add(bytes).ok());
    const auto reply = reader.Take();
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_FALSE(reply->has_value());
  }
}

}  // namespace
}  // namespace fmaserver::sessions
