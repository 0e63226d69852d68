#include "model_loader/tokenizer_json/normal_form.h"

#include <string>

#include "base/text.h"
#include "gtest/gtest.h"

namespace fmaserver::model {
namespace {

std::string Repeated(std::string_view part, size_t times) {
  std::string text;
  for (size_t i = 0; i < times; ++i) text += part;
  return text;
}

TEST(NormalFormTest, FormsAreThoseOfUnicode) {
  const std::string text = "e\u0301 \u00e9 \u212b \ufb01 q\u0307\u0323 \u1100\u1161\u11a8";
  EXPECT_EQ(ToNormalForm(text, NormalForm::kNfc),
            "\u00e9 \u00e9 \u00c5 \ufb01 q\u0323\u0307 \uac01");
  EXPECT_EQ(ToNormalForm(text, NormalForm::kNfd),
            "e\u0301 e\u0301 A\u030a \ufb01 q\u0323\u0307 \u1100\u1161\u11a8");
  EXPECT_EQ(ToNormalForm(text, NormalForm::kNfkc), "\u00e9 \u00e9 \u00c5 fi q\u0323\u0307 \uac01");
  EXPECT_EQ(ToNormalForm(text, NormalForm::kNfkd),
            "e\u0301 e\u0301 A\u030a fi q\u0323\u0307 \u1100\u1161\u11a8");
}

TEST(NormalFormTest, WhatHasNothingToChangeStays) {
  for (const std::string text : {"", "a", "plain text\n", "\u4f60\u597d", "x\U0001F600"}) {
    EXPECT_EQ(ToNormalForm(text, NormalForm::kNfc), text);
  }
  EXPECT_EQ(ToNormalForm(std::string("a\0b", 3), NormalForm::kNfc), std::string("a\0b", 3));
}

TEST(NormalFormTest, AMarkBehindPlainTextChangesItsLastCharacter) {
  EXPECT_EQ(ToNormalForm("the\u0301 the\u0301", NormalForm::kNfc), "th\u00e9 th\u00e9");
}

// utf8proc's own loop would take the square of their number: minutes.
TEST(NormalFormTest, AMillionMarksAreSorted) {
  const size_t count = 500'000;
  EXPECT_EQ(ToNormalForm(Concat("x", Repeated("\u0307\u0323", count)), NormalForm::kNfd),
            Concat("x", Repeated("\u0323", count), Repeated("\u0307", count)));
}

}  // namespace
}  // namespace fmaserver::model
