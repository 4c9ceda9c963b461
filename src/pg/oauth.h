/*
 * oauth.h
 *	  What Rust calls in oauth.c, and what oauth.c calls in Rust; the declarations are in oauth.rs and
 *	  hooks/oauth.rs.
 */
#ifndef AADAUTH_OAUTH_H
#define AADAUTH_OAUTH_H

#include "postgres.h"

/* An object id as text, and its NUL. */
#define AAD_IDENTITY_SIZE 37

typedef enum AadJudged
{
	AAD_REFUSED = 0,
	AAD_ACCEPTED = 1,
	AAD_NOT_JUDGED = 2			/* internal error */
} AadJudged;

/* Never raises; the identity is written for AAD_ACCEPTED only. */
extern AadJudged aad_judge_token(const char *token, size_t length, char *identity);

extern const void *aad_oauth_validator(void);
extern bool aad_oauth_asked(void);
extern bool aad_oauth_malformed(void);

#endif							/* AADAUTH_OAUTH_H */
