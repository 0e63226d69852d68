#include "base/byte_order_mark.h"

#include <gtest/gtest.h>

#include <string_view>

namespace fmaserver::testing {
namespace {

TEST(ByteOrderMarkTest, TheMarkOfUtf8IsTakenAwayOnce) {
  EXPECT_EQ(*WithoutByteOrderMark("", "file"), "");
  EXPECT_EQ(*WithoutByteOrderMark("text", "file"), "text");
  EXPECT_EQ(*WithoutByteOrderMark("\xEF\xBB\xBFtext", "file"), "text");
  EXPECT_EQ(*WithoutByteOrderMark("text\xEF\xBB\xBF", "file"), "text\xEF\xBB\xBF");
}

TEST(ByteOrderMarkTest, OtherEncodingsAreNamed) {
  for (const std::string_view text :
       {std::string_view("\xFF\xFEt\0", 4), std::string_view("\xFE\xFF\0t", 4),
        std::string_view("\0\0\xFE\xFF", 4), std::string_view("\xFF\xFE\0\0", 4)}) {
    EXPECT_EQ(WithoutByteOrderMark(text, "tokens").status().message(),
              "tokens: encoding is UTF-16 or UTF-32 (by its byte-order mark); allowed: UTF-8");
  }
}

}  // namespace
}  // namespace fmaserver::testing
