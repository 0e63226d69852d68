#include "clients/cpp/line_reader.h"

#include <histedit.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string_view>

namespace fmaserver::client {
namespace {

constexpr int kKeptLines = 1000;
// A terminal that knows bracketed paste puts these around what is pasted.
constexpr char kPasteOn[] = "\033[?2004h";
constexpr char kPasteOff[] = "\033[?2004l";
constexpr std::wstring_view kPasteEnd = L"\033[201~";

/// libedit counts in characters of the locale; texts here are UTF-8.
void UseUtf8() {
  const char* chosen = std::setlocale(LC_CTYPE, "");
  if (chosen == nullptr || std::strstr(chosen, "UTF-8") == nullptr) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
}

void Send(const char* sequence) {
  std::fputs(sequence, stdout);
  std::fflush(stdout);
}

/// Takes the pasted text whole, so that its line ends do not send it.
unsigned char Paste(EditLine* editor, int /*key*/) {
  std::wstring text;
  for (wchar_t character = 0; el_wgetc(editor, &character) == 1;) {
    text += character == L'\r' ? L'\n' : character;
    if (!text.ends_with(kPasteEnd)) continue;
    text.resize(text.size() - kPasteEnd.size());
    return el_winsertstr(editor, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }
  return CC_EOF;
}

/// Drops what was typed, and ends the line; without its end it would be the end of the input.
unsigned char Cancel(EditLine* editor, int /*key*/) {
  const LineInfoW* line = el_wline(editor);
  const auto behind = static_cast<int>(line->lastchar - line->cursor);
  el_cursor(editor, behind);
  line = el_wline(editor);
  el_wdeletestr(editor, static_cast<int>(line->lastchar - line->buffer));
  Send("^C");
  return el_winsertstr(editor, L"\n") == 0 ? CC_NEWLINE : CC_ERROR;
}

}  // namespace

struct LineReader::Terminal {
  Terminal() : editor(el_init("fma", stdin, stdout, stderr)), lines(history_init()) {
    HistEvent event;
    history(lines, &event, H_SETSIZE, kKeptLines);
    el_set(editor, EL_CLIENTDATA, this);
    el_set(
        editor, EL_PROMPT, +[](EditLine* asking) {
          void* self = nullptr;
          el_get(asking, EL_CLIENTDATA, &self);
          return static_cast<Terminal*>(self)->prompt.data();
        });
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_HIST, history, lines);
    el_set(editor, EL_ADDFN, "fma-paste", "Insert a pasted text", Paste);
    el_set(editor, EL_BIND, "\\e[200~", "fma-paste", nullptr);
    // While a line is edited Ctrl-C is a key; while an answer comes it is a signal.
    el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
    el_set(editor, EL_ADDFN, "fma-cancel", "Drop the line", Cancel);
    el_set(editor, EL_BIND, "^C", "fma-cancel", nullptr);
  }
  ~Terminal() {
    history_end(lines);
    el_end(editor);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  std::optional<std::string> Read() {
    int size = 0;
    // First, so that Ctrl-C is a key as soon as there is a prompt to be seen.
    el_set(editor, EL_PREP_TERM, 1);
    Send(kPasteOn);
    const char* typed = el_gets(editor, &size);
    Send(kPasteOff);
    if (typed == nullptr || size <= 0) return std::nullopt;
    std::string line(typed, size);
    if (line.ends_with('\n')) line.pop_back();
    HistEvent event;
    if (!line.empty()) history(lines, &event, H_ENTER, line.c_str());
    return line;
  }

  EditLine* const editor;
  History* const lines;
  std::string prompt;
};

LineReader::LineReader() {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) return;
  UseUtf8();
  terminal_ = std::make_unique<Terminal>();
}

LineReader::~LineReader() = default;

std::optional<std::string> LineReader::Read(const std::string& prompt) {
  if (terminal_ != nullptr) {
    terminal_->prompt = prompt;
    return terminal_->Read();
  }
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  return line;
}

}  // namespace fmaserver::client
