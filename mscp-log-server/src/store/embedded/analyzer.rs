//! The `standard` analyzer as a tantivy tokenizer: words are cut where the
//! core cuts them for queries and highlights.

use mscp_log_core::query::analyze::{self, Tokens};
use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream, Tokenizer, TokenizerManager};

use super::schema::STANDARD;

/// The tokenizers that the schema names.
#[must_use]
pub fn tokenizers() -> TokenizerManager {
    let manager = TokenizerManager::default();
    manager.register(STANDARD, TextAnalyzer::from(Standard));
    manager
}

#[derive(Clone)]
struct Standard;

struct Words<'a> {
    text: &'a str,
    tokens: Tokens<'a>,
    token: Token,
}

impl Tokenizer for Standard {
    type TokenStream<'a> = Words<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Words<'a> {
        Words {
            text,
            tokens: analyze::tokens(text),
            token: Token::default(),
        }
    }
}

impl TokenStream for Words<'_> {
    fn advance(&mut self) -> bool {
        let Some(word) = self.tokens.next_span() else {
            return false;
        };
        let text = &self.text[word.start..word.end];
        self.token.text.clear();
        if text.is_ascii() {
            self.token.text.push_str(text);
            self.token.text.make_ascii_lowercase();
        } else {
            self.token.text.push_str(&analyze::lower_case(text));
        }
        self.token.offset_from = word.start;
        self.token.offset_to = word.end;
        self.token.position = word.position;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}
